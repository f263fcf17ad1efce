//! A config to the operations that carry it out.
//!
//! The order is that of Ignition's stages, and inside each of them it is made by the values and never by
//! the order of the lists, so that a shuffled config makes the same machine: arguments, disks, arrays,
//! encrypted volumes, file systems, groups, users, entries by the depth of their path, hard links, units.
//! All of it is one step that is kept whole or not at all. What Kiln does not carry out is refused here,
//! by name and with the reason; leaving it out silently was never considered, because a machine that is
//! not what its config says is worse than none.

mod accounts;
mod disks;
mod entries;
mod units;

pub(crate) use self::disks::{NO_CEX, NO_CLEVIS};
use crate::action::{Action, Contents, KernelArguments, Remote, Source};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::Spanned;
use crate::ignition::config::{Config, Ignition, Proxy, Resource};
use crate::ignition::proxy::proxy_for;
use crate::ignition::{data, url};
use crate::operation::{Failure, Moment, Operation, Plan, Stage};
use crate::source::Span;

/// Places inside the one step of a config, in the order of Ignition's stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Rank {
    KernelArguments,
    Disks,
    Raid,
    Luks,
    Filesystems,
    Groups,
    Users,
    AbsentGroups,
    Keys,
    Entries,
    HardLinks,
    Units,
}

/// Seconds to wait for the header of an answer where the config says nothing (spec,
/// `ignition.timeouts.httpResponseHeaders`).
const HEADER_TIMEOUT: u64 = 10;

/// Lowers a config that has been checked and whose references are resolved; `document` is its place
/// among the documents of the first boot.
pub fn lower(config: &Config, document: u32, out: &mut Diagnostics) -> Plan {
    let mut lowering = Lowering {
        document,
        ignition: &config.ignition,
        shared: shared(&config.ignition),
        operations: Vec::new(),
        out,
    };
    for reference in config.ignition.merge.iter().chain(&config.ignition.replace) {
        let Some(source) = &reference.source else { continue };
        let message = format!("what `{}` adds is not known here", url::shown(&source.value));
        lowering.out.push(Diagnostic::note("unresolved-config", source.span, message));
    }
    let arguments = &config.kernel_arguments;
    if let Some(first) = arguments.should_exist.iter().chain(&arguments.should_not_exist).next() {
        let action = Action::KernelArguments(KernelArguments {
            should_exist: values(&arguments.should_exist),
            should_not_exist: values(&arguments.should_not_exist),
        });
        lowering.push(Rank::KernelArguments, first.span, action);
    }
    disks::lower(&config.storage, &mut lowering);
    accounts::lower(&config.passwd, &mut lowering);
    entries::lower(&config.storage, config.version.value, &mut lowering);
    units::lower(config, &mut lowering);
    let mut plan = Plan { operations: lowering.operations };
    plan.sort();
    plan
}

struct Lowering<'run> {
    document: u32,
    ignition: &'run Ignition,
    shared: Remote,
    operations: Vec<Operation>,
    out: &'run mut Diagnostics,
}

impl Lowering<'_> {
    fn push(&mut self, rank: Rank, origin: Span, action: Action) {
        self.operations.push(Operation {
            stage: Stage::main(Moment::FirstBoot),
            document: self.document,
            step: 0,
            name: None,
            rank: rank as u32,
            failure: Failure::Abort,
            conditions: Vec::new(),
            origin,
            action,
        });
    }

    fn refuse(&mut self, span: Span, key: &str, reason: &str) {
        let message = format!("`{key}` is not carried out: {reason}");
        self.out.push(
            Diagnostic::error("refused", span, message)
                .hint("docs/configuration-ignition.md says what is"),
        );
    }

    /// Contents of a resource; nothing where it has no source.
    fn contents(&self, resource: &Resource, secret: bool) -> Option<Contents> {
        let source = resource.source.as_ref()?;
        let hash = resource.hash.as_ref().map(|hash| hash.value.to_ascii_lowercase());
        // What cannot be decoded has been reported by the check, and the plan is not carried out.
        let (source, gzip) = match data::inline(resource) {
            Ok(Some(bytes)) => (Source::Bytes(bytes), false),
            Err(_) => (Source::Bytes(Vec::new()), false),
            Ok(None) => {
                let gzip = resource.compression.as_ref().is_some_and(|one| one.value == "gzip");
                (Source::Remote(self.remote(resource, &source.value)), gzip)
            }
        };
        Some(Contents { source, gzip, hash, secret })
    }

    fn remote(&self, resource: &Resource, source: &str) -> Remote {
        address(resource, source, &self.ignition.proxy, &self.shared)
    }
}

/// The address of a resource, with the settings that are in force where it is named.
#[must_use]
pub fn remote(resource: &Resource, settings: &Ignition) -> Remote {
    let source = resource.source.as_ref().map_or("", |source| source.value.as_str());
    address(resource, source, &settings.proxy, &shared(settings))
}

fn address(resource: &Resource, source: &str, proxy: &Proxy, shared: &Remote) -> Remote {
    let headers = resource.http_headers.iter();
    let headers = headers.filter_map(|header| {
        Some((header.name.value.clone(), header.value.as_ref()?.value.clone()))
    });
    Remote {
        url: source.to_owned(),
        headers: headers.collect(),
        proxy: proxy_for(source, proxy),
        ..shared.clone()
    }
}

/// What all resources of a config share.
fn shared(ignition: &Ignition) -> Remote {
    let authorities = ignition.certificate_authorities.iter();
    let authorities =
        authorities.filter_map(|authority| String::from_utf8(data::inline(authority).ok()??).ok());
    let timeouts = &ignition.timeouts;
    Remote {
        timeout: number(timeouts.http_total.as_ref()).unwrap_or(0),
        header_timeout: number(timeouts.http_response_headers.as_ref()).unwrap_or(HEADER_TIMEOUT),
        authorities: authorities.collect(),
        ..Remote::default()
    }
}

fn values(list: &[Spanned<String>]) -> Vec<String> {
    list.iter().map(|text| text.value.clone()).collect()
}

/// A text that says something; an empty one means the same as none.
fn text(value: Option<&Spanned<String>>) -> Option<String> {
    value.map(|text| text.value.clone()).filter(|text| !text.is_empty())
}

/// A number of the unsigned type that the action has; what does not fit has been reported.
fn number<N: TryFrom<i64>>(value: Option<&Spanned<i64>>) -> Option<N> {
    N::try_from(value?.value).ok()
}

fn is_true(value: Option<&Spanned<bool>>) -> bool {
    value.is_some_and(|value| value.value)
}

fn is_false(value: Option<&Spanned<bool>>) -> bool {
    value.is_some_and(|value| !value.value)
}
