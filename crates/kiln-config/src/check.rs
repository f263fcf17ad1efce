//! Documents of any dialect, checked together: what `kiln validate` and a machine both ask.
//!
//! Each document says itself which dialect it is; nothing is unpacked or decoded to find out, because
//! guessing is how a file is carried out that was meant as something else. All documents become one plan,
//! in their order; those of Kiln's own kind are merged first, as are those of Ignition by their own
//! rules. What holds across dialects is in [`claims`](crate::claims).

mod configs;

use self::configs::Given;
use crate::claims;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::elemental::{self, Fork};
use crate::ignition::nested::Fetch;
use crate::ignition::translate;
use crate::node::Node;
use crate::operation::Plan;
use crate::provision;
use crate::source::{MAXIMUM_BYTES, SourceId, Sources, Span};
use crate::{json, yaml};

/// The dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Elemental, cOS, cloud-init: `#cloud-config`, `stages:` or `mount:`.
    CloudConfig,
    /// The same as yip reads it.
    Yip,
    /// JSON with `ignition.version`.
    Ignition,
    /// YAML with `variant`.
    Butane,
    /// Kiln's own YAML, `kind: Provision`.
    Provision,
}

impl Dialect {
    /// The name by which users choose it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudConfig => "cloud-config",
            Self::Yip => "yip",
            Self::Ignition => "ignition",
            Self::Butane => "butane",
            Self::Provision => "provision",
        }
    }

    /// The name in a sentence.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::CloudConfig | Self::Yip => "a cloud-config",
            Self::Ignition | Self::Butane => "Ignition",
            Self::Provision => "a Provision document",
        }
    }

    /// Dialects with one set of rules count as one.
    #[must_use]
    pub fn family(self) -> Self {
        match self {
            Self::CloudConfig | Self::Yip => Self::CloudConfig,
            Self::Ignition | Self::Butane => Self::Ignition,
            Self::Provision => Self::Provision,
        }
    }
}

/// A document as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Name as it is shown: a path, a URL.
    pub name: String,
    /// All bytes.
    pub bytes: Vec<u8>,
}

/// A document that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document {
    /// Its text.
    pub source: SourceId,
    /// What it is, where that is known.
    pub dialect: Option<Dialect>,
}

/// All documents, what is to be said about them, and what they ask for together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// The texts.
    pub sources: Sources,
    /// What is to be said, ordered by document and place.
    pub diagnostics: Diagnostics,
    /// What is to be done, in order; complete only if there is no error.
    pub plan: Plan,
    /// The documents in their order.
    pub documents: Vec<Document>,
}

impl Checked {
    /// The first error in what a machine carries out once, all or nothing, as one line; nothing where it
    /// may begin. Documents that cannot be told from such count, too: half of a first boot is worse than
    /// none.
    #[must_use]
    pub fn first_boot_fault(&self) -> Option<String> {
        let is_once = |source: SourceId| {
            let document = self.documents.iter().find(|document| document.source == source);
            match document.map(|document| document.dialect.map(Dialect::family)) {
                // What was added since was named by a config of Ignition.
                None | Some(Some(Dialect::Ignition | Dialect::Provision)) => true,
                Some(Some(_)) => false,
                Some(None) => self.sources.get(source).is_some_and(|source| {
                    ONCE.iter().any(|word| source.text.contains(word))
                        || source.name.ends_with(".ign")
                }),
            }
        };
        let fault = self.diagnostics.list().iter().find(|one| {
            one.severity == Severity::Error && one.span.is_none_or(|span| is_once(span.source))
        })?;
        let place = fault.span.map(|span| format!("{}: ", self.sources.place(span)));
        let hint = fault.hint.as_ref().map(|hint| format!(" ({hint})"));
        Some(format!("{}{}{}", place.unwrap_or_default(), fault.message, hint.unwrap_or_default()))
    }
}

/// Words of documents that are carried out once, for those whose dialect cannot be told.
const ONCE: [&str; 3] = ["\"ignition\"", "variant:", "kind: Provision"];

/// A document whose dialect is known.
struct Recognised {
    id: SourceId,
    dialect: Dialect,
    /// Its trees, where they were read already; several only of Kiln's own kind.
    nodes: Vec<Node>,
}

/// Checks documents together, in order, without fetching anything. With `dialect` all are taken for
/// that one.
#[must_use]
pub fn check(inputs: Vec<Input>, dialect: Option<Dialect>) -> Checked {
    check_with(inputs, dialect, None)
}

/// The same with a way to fetch the configs that configs of Ignition name.
pub fn check_with(
    inputs: Vec<Input>,
    dialect: Option<Dialect>,
    fetch: Option<&mut Fetch<'_>>,
) -> Checked {
    let mut checked = Checked::default();
    let mut recognised = Vec::new();
    for input in inputs {
        let (id, is_text) = take_in(input, &mut checked);
        let out = &mut checked.diagnostics;
        let found = if is_text { recognise(&checked.sources, id, dialect, out) } else { None };
        let dialect = found.as_ref().map(|found| found.dialect);
        checked.documents.push(Document { source: id, dialect });
        recognised.extend(found);
    }
    checked.plan = lower(&recognised, &mut checked.sources, fetch, &mut checked.diagnostics);
    let documents = &checked.documents;
    // What was added since was named by a config of Ignition.
    let dialect_of = |source| match documents.iter().find(|document| document.source == source) {
        Some(document) => document.dialect,
        None => Some(Dialect::Ignition),
    };
    claims::check(&checked.plan, dialect_of, &mut checked.diagnostics);
    checked.diagnostics.sort();
    checked
}

/// Takes a text in; tells whether it is one.
fn take_in(input: Input, checked: &mut Checked) -> (SourceId, bool) {
    let Input { name, bytes } = input;
    let problem =
        |checked: &mut Checked, text: String, at: usize, code, message: String, hint: &str| {
            let id = checked.sources.add(name.as_str(), text);
            let span = Span::new(id, at, at.saturating_add(1));
            checked.diagnostics.push(Diagnostic::error(code, span, message).hint(hint));
            (id, false)
        };
    if bytes.len() > MAXIMUM_BYTES {
        let message = format!(
            "this has {} MiB, and a configuration has at most {}",
            bytes.len() >> 20,
            MAXIMUM_BYTES >> 20
        );
        let hint = "put large contents behind a URL";
        return problem(checked, String::new(), 0, "too-large", message, hint);
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let message = "this is compressed with gzip".to_owned();
        let hint = "unpack it first; what a document is, is never guessed";
        return problem(checked, String::new(), 0, "compressed", message, hint);
    }
    match String::from_utf8(bytes) {
        Ok(text) => (checked.sources.add(name, text), true),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let message = "this byte is not UTF-8".to_owned();
            problem(checked, text, at, "not-utf-8", message, "save the file as UTF-8")
        }
    }
}

/// Finds out what a document is; says so where it cannot be told.
fn recognise(
    sources: &Sources,
    id: SourceId,
    forced: Option<Dialect>,
    out: &mut Diagnostics,
) -> Option<Recognised> {
    let text = sources.get(id)?.text.as_str();
    let found = |dialect, nodes| Some(Recognised { id, dialect, nodes });
    if let Some(dialect) = forced {
        return found(dialect, Vec::new());
    }
    if text.trim_start().starts_with('{') {
        match json::document(id, text) {
            Ok(node) if node.get("ignition").is_some() || translate::applies(&node) => {
                return found(Dialect::Ignition, vec![node]);
            }
            Ok(_) => {}
            // It was meant as JSON, and its own reader tells best what is wrong.
            Err(fault) if text.contains("\"ignition\"") => {
                out.push(fault);
                return None;
            }
            Err(_) => {}
        }
    }
    let mut nodes = match yaml::documents(id, text) {
        Ok(nodes) => nodes,
        Err(fault) => {
            out.push(fault);
            return None;
        }
    };
    let Some(first) = nodes.first() else {
        if elemental::is_cloud_config(text) {
            return found(Dialect::CloudConfig, nodes);
        }
        let span = Span::new(id, 0, text.len());
        out.push(Diagnostic::warning("empty", span, "there is nothing in this document"));
        return None;
    };
    let asks_for_yip = first.get("dialect").and_then(Node::text) == Some("yip");
    let dialect = if provision::is_provision(first) {
        Dialect::Provision
    } else if first.get("variant").is_some() {
        Dialect::Butane
    } else if !elemental::is_cloud_config(text) && !is_stages(first) {
        out.push(unknown(first, text));
        return None;
    } else if asks_for_yip {
        Dialect::Yip
    } else {
        Dialect::CloudConfig
    };
    if nodes.len() > 1 && dialect != Dialect::Provision {
        // The dialect's own reader says what is wrong with a second document.
        nodes.clear();
    }
    found(dialect, nodes)
}

/// Keys that only cloud-configs have on top.
fn is_stages(node: &Node) -> bool {
    ["stages", "mount"].iter().any(|key| node.get(key).is_some())
}

fn unknown(node: &Node, text: &str) -> Diagnostic {
    let hint = if text.starts_with("#!") {
        "scripts are no configuration; put it into `commands` of a stage"
    } else if node.get("ignition").is_some() {
        "Ignition is JSON; for YAML begin with `variant: fcos` (Butane)"
    } else if node.map().is_none() {
        "a configuration is a map; what is encoded has to be decoded first"
    } else {
        "begin with `#cloud-config`, or have one of `stages`, `mount`, `ignition.version`, `variant` \
         and `kind: Provision`"
    };
    let start = Span { end: node.span.start.saturating_add(1), ..node.span };
    Diagnostic::error("unknown-document", start, "it cannot be told what this document is")
        .hint(hint)
}

/// Lowers all documents in their order to one plan.
fn lower(
    recognised: &[Recognised],
    sources: &mut Sources,
    mut fetch: Option<&mut Fetch<'_>>,
    out: &mut Diagnostics,
) -> Plan {
    let mut plan = Plan::default();
    let mut next = 0_u32;
    // Documents of these families are merged where the first of them stands.
    let mut merged: Vec<Dialect> = Vec::new();
    for document in recognised {
        let family = document.dialect.family();
        if merged.contains(&family) {
            continue;
        }
        let relatives = || recognised.iter().filter(|one| one.dialect.family() == family);
        let part = match family {
            Dialect::Provision => {
                merged.push(family);
                own(relatives(), sources, next, out)
            }
            Dialect::Ignition | Dialect::Butane => {
                merged.push(family);
                let given: Vec<Given<'_>> =
                    relatives().map(|one| Given { id: one.id, node: one.nodes.first() }).collect();
                configs::plan(&given, sources, next, fetch.take(), out)
            }
            Dialect::CloudConfig | Dialect::Yip => cloud_config(document, sources, next, out),
        };
        let last = part.operations.iter().map(|operation| operation.document).max();
        next = last.unwrap_or(next).max(next).saturating_add(1);
        if plan.operations.is_empty() {
            plan = part;
        } else {
            plan.operations.extend(part.operations);
        }
    }
    plan.sort();
    plan
}

/// Kiln's own documents; those whose dialect was not looked for are not read yet.
fn own<'run>(
    documents: impl Iterator<Item = &'run Recognised>,
    sources: &Sources,
    number: u32,
    out: &mut Diagnostics,
) -> Plan {
    let mut nodes = Vec::new();
    for document in documents {
        if !document.nodes.is_empty() {
            nodes.extend(document.nodes.iter().cloned());
            continue;
        }
        let text = sources.get(document.id).map(|source| source.text.as_str()).unwrap_or_default();
        match yaml::documents(document.id, text) {
            Ok(read) => nodes.extend(read),
            Err(fault) => out.push(fault),
        }
    }
    provision::lower(nodes, number, out)
}

fn cloud_config(
    document: &Recognised,
    sources: &Sources,
    number: u32,
    out: &mut Diagnostics,
) -> Plan {
    let fork = if document.dialect == Dialect::Yip { Fork::Yip } else { Fork::Toolkit };
    let text = sources.get(document.id).map(|source| source.text.as_str()).unwrap_or_default();
    match document.nodes.first() {
        Some(node) => elemental::lower(node, elemental::is_cloud_config(text), number, fork, out),
        None => elemental::read(sources, document.id, number, fork, out),
    }
}

#[cfg(test)]
mod tests {
    use super::{Checked, Dialect, Input, check};
    use crate::source::MAXIMUM_BYTES;

    fn run(texts: &[&str]) -> Checked {
        let input = |(index, text): (usize, &&str)| Input {
            name: format!("{index}"),
            bytes: text.as_bytes().to_vec(),
        };
        check(texts.iter().enumerate().map(input).collect(), None)
    }

    fn said(checked: &Checked) -> Vec<String> {
        let show = |one: &crate::Diagnostic| {
            let place = one.span.map(|span| checked.sources.place(span).to_string());
            format!("{} {}", place.unwrap_or_default(), one.code)
        };
        checked.diagnostics.list().iter().map(show).collect()
    }

    #[test]
    fn each_document_says_what_it_is() {
        use Dialect::{Butane, CloudConfig, Ignition, Provision, Yip};
        for (text, dialect) in [
            ("{\"ignition\": {\"version\": \"3.4.0\"}}", Some(Ignition)),
            ("\n  {\"ignition\": {\"version\": \"2.2.0\"}}", Some(Ignition)),
            ("variant: fcos\nversion: 1.5.0\n", Some(Butane)),
            ("apiVersion: kiln.dev/v1alpha1\nkind: Provision\n", Some(Provision)),
            ("#cloud-config\nhostname: a\n", Some(CloudConfig)),
            ("#cloud-config\n", Some(CloudConfig)),
            ("stages: {}\n", Some(CloudConfig)),
            ("{\"stages\": {}}\n", Some(CloudConfig)),
            ("dialect: yip\nstages: {}\n", Some(Yip)),
            ("hostname: a\n", None),
            ("ignition: {version: 3.4.0}\n", None),
            ("#!/bin/sh\n", None),
            ("aGVsbG8=\n", None),
            ("", None),
        ] {
            let checked = run(&[text]);
            assert_eq!(checked.documents[0].dialect, dialect, "{text}: {:?}", said(&checked));
            assert_eq!(
                dialect.is_none() && !text.is_empty() && text != "#!/bin/sh\n",
                checked.diagnostics.has_errors(),
                "{text}: {:?}",
                said(&checked)
            );
        }
    }

    #[test]
    fn only_faults_of_what_runs_once_keep_a_first_boot_from_beginning() {
        for (text, expected) in [
            ("#cloud-config\nhostname: [1]\n", None),
            ("#cloud-config\nhostname: a\n", None),
            ("a: b\n", None),
            ("{\"ignition\": }", Some("0:1:14")),
            ("{\"ignition\": {\"version\": \"9.0.0\"}}", Some("0:1:26")),
            ("kind: Provision\nfiles: [\n", Some("0:2:8")),
        ] {
            let found = run(&[text]).first_boot_fault();
            let place = found.as_deref().and_then(|fault| fault.split(": ").next());
            assert_eq!(place, expected, "{found:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        for (bytes, expected) in [
            (b"a: 1\nb: \xff\n".to_vec(), "x:2:4 not-utf-8"),
            (vec![0x1f, 0x8b, 8, 0], "x:1:1 compressed"),
            (vec![b'a'; MAXIMUM_BYTES + 1], "x:1:1 too-large"),
            (b"{\"ignition\": }".to_vec(), "x:1:14 syntax"),
            (b"stages: [\n".to_vec(), "x:1:9 syntax"),
        ] {
            let checked = check(vec![Input { name: "x".into(), bytes }], None);
            assert_eq!(said(&checked), [expected]);
            assert!(checked.diagnostics.has_errors());
        }
    }

    #[test]
    fn what_two_dialects_claim_is_refused_with_both_lines() {
        let stages = "stages:\n  initramfs:\n    - files:\n        - path: /etc/motd\n          content: a\n";
        let own =
            "apiVersion: kiln.dev/v1alpha1\nkind: Provision\nfiles:\n  /etc/motd: {text: b}\n";
        let config = "{\"ignition\": {\"version\": \"3.4.0\"},\n \"storage\": {\"files\": [\n  {\"path\": \"/etc/motd\"}]}}";
        for texts in [[stages, own], [own, stages], [stages, config], [config, own]] {
            let checked = run(&texts);
            let found = checked.diagnostics.list().iter().find(|one| one.code == "claimed-twice");
            let found = found.unwrap_or_else(|| panic!("{:?}", said(&checked)));
            assert!(found.message.contains("path `/etc/motd`"), "{}", found.message);
            let places = [found.labels[0].span, found.span.unwrap()].map(|span| span.source.0);
            assert_eq!(places, [0, 1]);
        }
        for texts in [[own, own], [stages, stages]] {
            assert!(!run(&texts).diagnostics.has_errors(), "{:?}", said(&run(&texts)));
        }
    }

    #[test]
    fn configs_side_by_side_are_merged_and_documents_keep_their_order() {
        let parent = "{\"ignition\": {\"version\": \"3.4.0\", \"config\": {\"merge\": [{\"source\": \"https://example.com/a\"}]}},\n \"passwd\": {\"users\": [{\"name\": \"core\"}]}}";
        let child =
            "variant: fcos\nversion: 1.5.0\npasswd: {users: [{name: core, shell: /bin/zsh}]}\n";
        let first = "stages: {boot: [{commands: [a]}]}\n";
        let last = "stages: {boot: [{commands: [b]}]}\n";
        let checked = run(&[first, parent, last, child]);
        assert_eq!(said(&checked), ["1:1:67 not-fetched"]);
        let users: Vec<_> = checked
            .plan
            .operations
            .iter()
            .filter_map(|one| match &one.action {
                crate::Action::User(user) => Some((user.name.as_str(), user.shell.as_deref())),
                _ => None,
            })
            .collect();
        assert_eq!(users, [("core", Some("/bin/zsh"))]);
        let numbers: Vec<u32> = checked.plan.operations.iter().map(|one| one.document).collect();
        assert_eq!(numbers, [1, 0, 2]);
    }
}
