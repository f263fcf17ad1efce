//! Configs that name other configs: `config.merge` and `config.replace`.
//!
//! Depth first, as Ignition does: what a child names is merged into the child before the child is merged
//! into its parent, in the order of the list, and a replacement takes the place of its parent with all
//! that the parent said. Fetching is the caller's: a laptop may refuse it, a machine does it. The caller
//! gets the settings that hold at that moment (time limits, proxy, certificates), because a child may
//! bring the certificate with which its own children are fetched. Certificates that have to be fetched
//! are, at once, and stand in the result as `data:` URLs.
//!
//! A document can name itself, directly or in a circle, or name a thousand others: circles are
//! recognised, depth and number are bounded.

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::ignition::config::{Config, Ignition, Resource};
use crate::ignition::{data, merge, url, validate};
use crate::source::{SourceId, Sources, Span};

/// Levels of configs that name configs; pointer configs of fleets have two.
pub const MAXIMUM_DEPTH: usize = 16;
/// Resources that one config may name altogether, certificates included.
pub const MAXIMUM_FETCHES: usize = 256;

/// Fetches what a resource names, as it is transferred: neither unpacked nor verified. The second
/// argument holds the settings that are in force.
pub type Fetch<'run> = dyn FnMut(&Resource, &Ignition) -> Result<Vec<u8>, String> + 'run;
/// Reads one of the documents, in whatever notation or version it is.
pub type Read<'run> = dyn FnMut(&Sources, SourceId, &mut Diagnostics) -> Option<Config> + 'run;

/// Reads a config with all that it names, checked and merged. Nothing where one of them could not be
/// fetched or read; what is wrong is in `out`, and the result is of no use if `out` has errors.
pub fn resolve(
    config: Config,
    sources: &mut Sources,
    read: &mut Read<'_>,
    fetch: &mut Fetch<'_>,
    out: &mut Diagnostics,
) -> Option<Config> {
    let alone = config.ignition.merge.is_empty() && config.ignition.replace.is_none();
    let mut run = Run { sources, read, fetch, out, chain: Vec::new(), fetches: 0 };
    let settings = Ignition::default();
    let resolved = run.render(config, &settings)?;
    if !alone {
        recheck(&resolved, out);
    }
    Some(resolved)
}

/// Checks the merged config, and says only what was not said about one of its parts.
fn recheck(config: &Config, out: &mut Diagnostics) {
    let mut found = Diagnostics::default();
    validate::validate(config, &mut found);
    for diagnostic in found.list() {
        let is_known = out.list().iter().any(|known| {
            known.code == diagnostic.code
                && known.span == diagnostic.span
                && known.message == diagnostic.message
        });
        if is_known {
            continue;
        }
        let mut diagnostic = diagnostic.clone();
        if diagnostic.severity == Severity::Error {
            diagnostic.message = format!("in the merged config, {}", diagnostic.message);
        }
        out.push(diagnostic);
    }
}

struct Run<'run> {
    sources: &'run mut Sources,
    read: &'run mut Read<'run>,
    fetch: &'run mut Fetch<'run>,
    out: &'run mut Diagnostics,
    /// URLs through which the present config was reached.
    chain: Vec<(String, Span)>,
    fetches: usize,
}

impl Run<'_> {
    /// `above` holds the settings of the configs that this one will be merged into.
    fn render(&mut self, mut config: Config, above: &Ignition) -> Option<Config> {
        validate::validate(&config, self.out);
        self.authorities(&mut config, above)?;
        let references = std::mem::take(&mut config.ignition.merge);
        if let Some(replace) = config.ignition.replace.take()
            && replace.source.is_some()
        {
            let settings = self.settings(above, &config.ignition);
            return self.child(&replace, &settings, &Ignition::default());
        }
        for reference in references {
            let settings = self.settings(above, &config.ignition);
            let child = self.child(&reference, &settings, &settings)?;
            config = merge::merge(config, child, self.out);
        }
        Some(config)
    }

    /// Fetches and renders one config; `under` are the settings that it is merged under.
    fn child(
        &mut self,
        reference: &Resource,
        settings: &Ignition,
        under: &Ignition,
    ) -> Option<Config> {
        // One without a source has been reported.
        let source = reference.source.as_ref().filter(|source| !source.value.is_empty())?;
        let name = source.value.clone();
        if let Some((_, first)) = self.chain.iter().find(|(one, _)| *one == name) {
            let message = format!("the config `{}` names itself", url::shown(&name));
            self.out.push(
                Diagnostic::error("config-cycle", source.span, message)
                    .label(*first, "it was first named here"),
            );
            return None;
        }
        if self.chain.len() >= MAXIMUM_DEPTH {
            let message = format!("configs name each other more than {MAXIMUM_DEPTH} levels deep");
            self.out.push(Diagnostic::error("config-depth", source.span, message));
            return None;
        }
        let bytes = self.bytes(reference, settings)?;
        let Ok(text) = String::from_utf8(bytes) else {
            let message = format!("the config `{}` is not UTF-8", url::shown(&name));
            self.out.push(Diagnostic::error("not-utf8", source.span, message));
            return None;
        };
        let shown = match url::scheme(&name).as_deref() {
            Some("data") => format!("data URL at {}", self.sources.place(source.span)),
            _ => url::shown(&name),
        };
        let id = self.sources.add(shown, text);
        let config = (self.read)(self.sources, id, self.out)?;
        self.chain.push((name, source.span));
        let rendered = self.render(config, under);
        self.chain.pop();
        rendered
    }

    /// The settings in force: those from above, and what this config says.
    fn settings(&mut self, above: &Ignition, own: &Ignition) -> Ignition {
        let with = |ignition: &Ignition| Config {
            ignition: Ignition { merge: Vec::new(), replace: None, ..ignition.clone() },
            ..Config::default()
        };
        // What merging has to say about them is said when the configs themselves are merged.
        merge::merge(with(above), with(own), &mut Diagnostics::default()).ignition
    }

    fn authorities(&mut self, config: &mut Config, above: &Ignition) -> Option<()> {
        for place in 0..config.ignition.certificate_authorities.len() {
            let authority = config.ignition.certificate_authorities.get(place)?.clone();
            let Some(source) = &authority.source else { continue };
            if matches!(url::scheme(&source.value).as_deref(), Some("data") | None) {
                continue;
            }
            // It cannot vouch for itself, so only those that are there already count.
            let mut own = config.ignition.clone();
            own.certificate_authorities.retain(is_inline);
            let settings = self.settings(above, &own);
            let bytes = self.bytes(&authority, &settings)?;
            let mut fetched = authority.clone();
            if let Some(source) = &mut fetched.source {
                source.value = data::encode(&bytes);
            }
            (fetched.compression, fetched.http_headers) = (None, Vec::new());
            *config.ignition.certificate_authorities.get_mut(place)? = fetched;
        }
        Some(())
    }

    /// What a resource holds, unpacked and verified.
    fn bytes(&mut self, resource: &Resource, settings: &Ignition) -> Option<Vec<u8>> {
        let source = resource.source.as_ref()?;
        self.fetches += 1;
        if self.fetches > MAXIMUM_FETCHES {
            let message = format!("configs name more than {MAXIMUM_FETCHES} others");
            self.out.push(Diagnostic::error("config-number", source.span, message));
            return None;
        }
        match data::inline(resource) {
            Ok(Some(bytes)) => return Some(bytes),
            // Said by the check of the config that names it.
            Err(_) => return None,
            Ok(None) => {}
        }
        let shown = url::shown(&source.value);
        let raw = (self.fetch)(resource, settings).map_err(|reason| {
            let message = format!("`{shown}` cannot be fetched: {reason}");
            Diagnostic::error("fetch", source.span, message)
        });
        let opened = raw.and_then(|raw| {
            data::opened(resource, raw).map_err(|fault| {
                let span = match (fault.code, &resource.hash) {
                    ("hash-mismatch", Some(hash)) => hash.span,
                    _ => source.span,
                };
                Diagnostic::error(fault.code, span, format!("`{shown}`: {}", fault.message))
            })
        });
        opened.map_err(|diagnostic| self.out.push(diagnostic)).ok()
    }
}

fn is_inline(authority: &Resource) -> bool {
    authority
        .source
        .as_ref()
        .is_some_and(|source| url::scheme(&source.value).as_deref() == Some("data"))
}
