//! Tells an address whether the first boot succeeded: `kiln.report=URL` on the kernel command line.
//!
//! One attempt of ten seconds, after everything else: a machine must not fail because nobody listens. What is
//! sent is the report that is also kept on the machine; the type has no place for contents, so no secret can
//! be in it. Ignition has no such thing, and its users poll for ssh instead.

use std::time::Duration;

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
    /// What the kernel command line says.
    #[must_use]
    pub fn of(command_line: &str) -> Self {
        let url = Named::parse(command_line).report;
        Self { success: url.clone(), failure: url }
    }

    /// Tells it. Gives a sentence where nobody took it.
    pub fn tell(
        &self,
        fetch: &mut dyn Fetch,
        reports: &[Report],
        failures: &[String],
    ) -> Option<String> {
        let is_good = failures.is_empty() && reports.iter().all(|one| one.aborted.is_none());
        let url = if is_good { self.success.as_ref()? } else { self.failure.as_ref()? };
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
    use kiln_config::Stage;
    use kiln_config::action::Remote;
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
        let reporting = Reporting::of("quiet kiln.report=https://a/b?t=1");
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
        assert_eq!(Reporting::of("quiet").tell(&mut Deaf, &[], &[]), None);
    }
}
