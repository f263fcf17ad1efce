//! Tells an address whether the first boot succeeded: `kiln.report=URL` on the kernel command line, or
//! `report: URL` in a Provision document. The command line wins: it is what who stands at the machine can change.
//!
//! One attempt of ten seconds, after everything else: a machine must not fail because nobody listens. What is
//! sent is the report that is also kept on the machine; the type has no place for contents, so no secret can
//! be in it. Ignition has no such thing, and its users poll for ssh instead.

use std::time::Duration;

use kiln_config::operation::Moment;
use kiln_config::{Action, Plan};
use kiln_registry::SendMethod;
use serde_json::json;

use crate::fetch::{Sending, address};
use crate::sources::Named;
use crate::{Fetch, Report};

/// For the whole exchange.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the answer that are read; nothing in it counts.
const ANSWER_BYTES: u64 = 64 << 10;
/// What is sent (docs/provisioning.md).
const FORMAT: &str = "kiln.provisioning.v1";

/// Who is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reporting {
    /// Of success.
    pub success: Option<String>,
    /// Of failure.
    pub failure: Option<String>,
}

impl Reporting {
    /// What the kernel command line says, and where it says nothing, what the documents do; of several the
    /// last one counts.
    #[must_use]
    pub fn of(command_line: &str, plan: &Plan) -> Self {
        let in_plan = || {
            plan.operations.iter().rev().find_map(|operation| match &operation.action {
                Action::Report(address) if operation.stage.moment == Moment::FirstBoot => {
                    Some(address.clone())
                }
                _ => None,
            })
        };
        let url = Named::parse(command_line).report.or_else(in_plan);
        Self { success: url.clone(), failure: url }
    }

    /// The address that is told of this end; nothing where nobody is.
    fn address(&self, reports: &[Report], failures: &[String]) -> (bool, Option<&str>) {
        let is_good = failures.is_empty() && reports.iter().all(|one| one.aborted.is_none());
        (is_good, if is_good { self.success.as_deref() } else { self.failure.as_deref() })
    }

    /// Whether somebody is to be told of this end: only then a network is needed for it.
    #[must_use]
    pub fn is_wanted(&self, reports: &[Report], failures: &[String]) -> bool {
        self.address(reports, failures).1.is_some()
    }

    /// Tells it. Gives a sentence where nobody took it.
    pub fn tell(
        &self,
        fetch: &mut dyn Fetch,
        reports: &[Report],
        failures: &[String],
    ) -> Option<String> {
        let (is_good, url) = self.address(reports, failures);
        let url = url?;
        let text = json!({
            "format": FORMAT,
            "outcome": if is_good { "success" } else { "failure" },
            "failures": failures,
            "reports": reports,
        })
        .to_string();
        let sending = Sending {
            method: SendMethod::Post,
            url,
            headers: &[],
            media_type: "application/json",
            bytes: text.as_bytes(),
            patience: PATIENCE,
            limit: ANSWER_BYTES,
        };
        let told = fetch.send(&sending);
        told.err().map(|error| format!("{} is not told: {}", address(url), error.sentence()))
    }
}

#[cfg(test)]
mod tests {
    use kiln_config::action::Remote;
    use kiln_config::check::{Input, check};
    use kiln_config::{Plan, Stage};
    use serde_json::Value;

    use super::Reporting;
    use crate::fetch::Sending;
    use crate::{Error, Fetch, Report};

    #[derive(Default)]
    struct Listener(Vec<(String, Value)>);

    impl Fetch for Listener {
        fn get(&mut self, _: &Remote, _: u64) -> Result<Vec<u8>, Error> {
            Ok(Vec::new())
        }

        fn send(&mut self, sending: &Sending<'_>) -> Result<Vec<u8>, Error> {
            let document = serde_json::from_slice(sending.bytes).unwrap();
            self.0.push((sending.url.to_owned(), document));
            Ok(Vec::new())
        }
    }

    /// Nobody there.
    struct Deaf;

    impl Fetch for Deaf {
        fn get(&mut self, _: &Remote, _: u64) -> Result<Vec<u8>, Error> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn success_and_failure_are_told_and_silence_is_no_failure() {
        let report = |aborted: Option<&str>| Report {
            stage: Stage::named("first-boot"),
            records: Vec::new(),
            aborted: aborted.map(str::to_owned),
        };
        let none = Plan::default();
        let reporting = Reporting::of("quiet kiln.report=https://a/b?t=1", &none);
        for (reports, failures, expected) in [
            (vec![report(None)], vec![], "success"),
            (vec![report(None), report(Some("no"))], vec![], "failure"),
            (vec![], vec!["lost".to_owned()], "failure"),
        ] {
            let mut listener = Listener::default();
            assert_eq!(reporting.tell(&mut listener, &reports, &failures), None);
            let (url, document) = &listener.0[0];
            assert_eq!((url.as_str(), &document["outcome"]), ("https://a/b?t=1", &expected.into()));
            assert_eq!(document["reports"].as_array().unwrap().len(), reports.len());
        }
        let sentence = reporting.tell(&mut Deaf, &[], &[]).unwrap();
        assert!(sentence.starts_with("`https://a/b` is not told"), "{sentence}");
        assert_eq!(Reporting::of("quiet", &none).tell(&mut Deaf, &[], &[]), None);
    }

    #[test]
    fn documents_name_who_is_told_unless_the_command_line_does() {
        let own = "apiVersion: kiln.dev/v1alpha1\nkind: Provision\n";
        for (line, text, expected) in [
            ("quiet", "report: https://doc.example/r\n", Some("https://doc.example/r")),
            ("kiln.report=https://line", "report: https://doc\n", Some("https://line")),
            ("kiln.report=", "report: http://doc:8080/r?t=1\n", Some("http://doc:8080/r?t=1")),
            // Also of a document that cannot be carried out.
            ("", "report: https://doc\nfiels: {}\n", Some("https://doc")),
            ("", "operations: [{stage: first-boot, report: 'https://doc'}]\n", Some("https://doc")),
            ("", "operations: [{stage: boot, report: 'https://doc'}]\n", None),
            ("", "report: ftp://doc\n", None),
            ("", "report: /doc\n", None),
            ("", "---\n", None),
        ] {
            let input = Input { name: "a".into(), bytes: format!("{own}{text}").into_bytes() };
            let reporting = Reporting::of(line, &check(vec![input], None).plan);
            let failures = ["lost".to_owned()];
            assert_eq!(reporting.success.as_deref(), expected, "{line} {text}");
            assert_eq!(reporting.failure, reporting.success, "{line} {text}");
            assert_eq!(reporting.is_wanted(&[], &failures), expected.is_some(), "{line} {text}");
        }
    }
}
