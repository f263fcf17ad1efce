//! All documents of a machine before its system starts, from every place, as one plan.
//!
//! What cannot be read is never fatal here: it is in the trace, and, where a document may be lost by it, among
//! the failures. Whoever carries a first boot out stops at those; a machine that is configured already goes on.
//! The network is wanted at most once, and only when something is fetched: asking for it first would make each
//! boot wait for a cable.

use std::path::Path;

use kiln_config::action::Remote;
use kiln_config::check::{Checked, Dialect, Input, check_with};
use kiln_config::ignition::config::{Ignition, Resource};
use kiln_config::ignition::lower::remote;
use kiln_config::ignition::url;
use kiln_disk::FileDevice;

use super::cloud::{self, Cloud, Firmware, Metadata};
use super::folders::{esp, file, folder};
use super::volumes::{self, VOLUMES, Volumes};
use super::{Document, Named, Outcome, Place, Policy, Setup, block, firmware};
use crate::contents::verify;
use crate::fetch::Sending;
use crate::stages::{self, Gathered};
use crate::{Error, Fetch, Root};

/// Places of the image, in their order: Elemental's, Kiln's, and Ignition's, of which the last one is a file.
const IMAGE: [&str; 3] = ["/system/oem", "/usr/lib/kiln/provision.d", "/usr/lib/ignition/base.d"];
const IMAGE_PLATFORM: &str = "/usr/lib/ignition/base.platform.d";
const IMAGE_USER: &str = "/usr/lib/ignition/user.ign";
/// Places of the own disk.
const OWN: [&str; 2] = ["/oem", "/usr/local/cloud-config"];
/// Sector size that the reader of the EFI system partition may assume: it reads at any offset.
const SECTOR: u32 = 512;

/// Where a machine looks, and with what.
pub struct Search<'a> {
    /// The root with `/system/oem`, `/usr`, `/oem` and, mounted, `/sys`.
    pub root: &'a Root,
    /// The kernel command line.
    pub command_line: &'a str,
    /// What may be looked at.
    pub policy: &'a Policy,
    /// The device of the own EFI system partition; without it, it is not looked at.
    pub boot_partition: Option<&'a Path>,
    /// Volumes of others.
    pub volumes: &'a mut dyn Volumes,
    /// The network.
    pub fetch: &'a mut dyn Fetch,
    /// Called once, before anything is fetched.
    pub need_network: &'a mut dyn FnMut() -> Result<(), Error>,
    /// Told what takes long.
    pub say: &'a mut dyn FnMut(&str),
}

impl std::fmt::Debug for Search<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Search")
            .field("root", &self.root)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Looks everywhere, and checks what was found as one configuration. What Ignition's documents name is
/// fetched and merged.
#[must_use]
pub fn gather_all(search: Search<'_>) -> Gathered {
    let Search { root, command_line, policy, boot_partition, volumes, fetch, need_network, say } =
        search;
    let mut fetch = Connected { fetch, need_network, say, has_network: None };
    let mut run = Run { policy, found: Gathered::default(), metadata: None };
    let named = Named::parse(command_line);
    run.image(root, &named);
    run.take(Place::BootPartition, "EFI system partition", true, || match boot_partition {
        Some(device) => boot_documents(device),
        None => Ok(Vec::new()),
    });
    for path in OWN {
        run.take(Place::OwnDisk, path, false, || folder(root, path, Place::OwnDisk));
    }
    if policy.provisioned {
        // What was handed over at the first boot and is the machine's own since then.
        let kept = stages::kept_folder(root);
        let kept = kept.as_deref().unwrap_or("/state/config");
        run.take(Place::OwnDisk, kept, false, || folder(root, kept, Place::OwnDisk));
    }
    use firmware::{hypervisor, smbios};
    run.take(Place::Hypervisor, "fw_cfg", true, || hypervisor(root, Place::Hypervisor));
    run.take(Place::Smbios, "SMBIOS", true, || smbios(root, Place::Smbios));
    run.take(Place::Credentials, "credentials", true, || {
        let place = Place::Credentials;
        Ok([hypervisor(root, place)?, smbios(root, place)?].concat())
    });
    run.volumes(volumes);
    run.cloud(root, &named, &mut fetch);
    run.command_line(root, command_line, &named, &mut fetch);
    run.finish(command_line, &mut fetch)
}

/// Documents of the EFI system partition on a device.
fn boot_documents(device: &Path) -> Result<Vec<Document>, Error> {
    let shown = device.to_string_lossy();
    let opened = std::fs::File::open(device).map_err(crate::error::file("open", &shown))?;
    let length = block::length(&opened, &shown)?;
    let device = FileDevice::new(opened, SECTOR).map_err(crate::error::file("read", &shown))?;
    esp(&device, 0, length)
}

struct Run<'a> {
    policy: &'a Policy,
    found: Gathered,
    /// What cloud or volume say of the machine itself.
    metadata: Option<(Place, Metadata)>,
}

impl Run<'_> {
    /// Looks at one place. What may hold a document for the first boot `matters`: that it cannot be read is a
    /// failure.
    fn take(
        &mut self,
        place: Place,
        at: &str,
        matters: bool,
        look: impl FnOnce() -> Result<Vec<Document>, Error>,
    ) {
        if let Some(reason) = self.policy.refusal(place) {
            self.found.trace.note(place, at, Outcome::Ignored(reason.into()));
            return;
        }
        match look() {
            Ok(documents) => {
                self.found.trace.found(place, at, documents.len());
                self.found.documents.extend(documents);
            }
            Err(error) => self.lost(place, at, matters, error.sentence()),
        }
    }

    fn lost(&mut self, place: Place, at: &str, matters: bool, reason: String) {
        if matters {
            self.found.failures.push(format!("{at}: {reason}"));
        }
        self.found.trace.note(place, at, Outcome::Ignored(reason));
    }

    fn image(&mut self, root: &Root, named: &Named) {
        let place = Place::Image;
        for path in IMAGE {
            self.take(place, path, false, || folder(root, path, place));
        }
        let is_name = |name: &&String| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if let Some(platform) = named.platform.as_ref().filter(is_name) {
            let path = format!("{IMAGE_PLATFORM}/{platform}");
            self.take(place, &path, false, || folder(root, &path, place));
        }
        self.take(place, IMAGE_USER, false, || file(root, IMAGE_USER, place));
    }

    fn volumes(&mut self, volumes: &mut dyn Volumes) {
        let place = Place::Volume;
        if let Some(reason) = self.policy.refusal(place) {
            self.found.trace.note(place, "labelled volumes", Outcome::Ignored(reason.into()));
            return;
        }
        let devices = match volumes.list() {
            Ok(devices) => devices,
            Err(error) => return self.lost(place, "labelled volumes", true, error.sentence()),
        };
        let chosen = volumes::choose(&devices, &VOLUMES);
        if chosen.is_empty() {
            self.found.trace.note(place, "labelled volumes", Outcome::Absent);
        }
        for (kind, choice) in chosen {
            let (node, format) = match choice {
                Ok(chosen) => chosen,
                Err(nodes) => {
                    let reason =
                        format!("{} all have this label; remove all but one", nodes.join(", "));
                    self.lost(place, kind.label, true, reason);
                    continue;
                }
            };
            let at = format!("{} ({node})", kind.label);
            let found = match volumes::documents(kind, &node, format, volumes) {
                Ok(found) => found,
                Err(error) => {
                    self.lost(place, &at, true, error.sentence());
                    continue;
                }
            };
            if let Some(bytes) = found.metadata {
                let text = String::from_utf8_lossy(&bytes);
                let metadata = match kind.label {
                    "CIDATA" => cloud::of_no_cloud(&text),
                    _ => cloud::of_document(&text),
                };
                self.metadata = Some((place, metadata));
            }
            self.user_data(place, &at, found.documents);
        }
    }

    fn cloud(&mut self, root: &Root, named: &Named, fetch: &mut dyn Fetch) {
        let place = Place::Cloud;
        let by_name = named.platform.as_deref().and_then(cloud::of_platform);
        let by_firmware = || Firmware::read(&root.path().join("sys")).cloud();
        let Some(cloud) = by_name.or_else(by_firmware) else { return };
        let at = format!("metadata of {}", cloud.title);
        if let Some(reason) = self.policy.refusal(place) {
            self.found.trace.note(place, at, Outcome::Ignored(reason.into()));
            return;
        }
        // A configuration drive says the same without a network.
        let has_drive = self.found.documents.iter().any(|one| one.place == Place::Volume);
        if has_drive {
            let reason = "a volume has brought a configuration".to_owned();
            self.found.trace.note(place, at, Outcome::Ignored(reason));
            return;
        }
        self.ask(cloud, &at, fetch);
    }

    fn ask(&mut self, cloud: &Cloud, at: &str, fetch: &mut dyn Fetch) {
        match cloud::ask(cloud, cloud.address, fetch) {
            Ok(answer) => {
                self.metadata = Some((Place::Cloud, answer.metadata));
                let bytes = answer.user_data;
                let document = bytes.map(|bytes| Document {
                    name: format!("user data of {}", cloud.title),
                    bytes,
                    place: Place::Cloud,
                });
                self.user_data(Place::Cloud, at, document.into_iter().collect());
            }
            Err(error) => self.lost(Place::Cloud, at, true, error.sentence()),
        }
    }

    /// Takes documents that may be something else: a cloud hands on whatever its user wrote.
    fn user_data(&mut self, place: Place, at: &str, documents: Vec<Document>) {
        let mut taken = 0;
        for mut document in documents {
            let bytes = match cloud::inflated(std::mem::take(&mut document.bytes)) {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(reason) => {
                    self.lost(place, &document.name, true, reason);
                    continue;
                }
            };
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            if bytes.starts_with(b"#!") {
                let reason = "it is a script; a step with `datasource` runs it".to_owned();
                self.found.trace.note(place, document.name, Outcome::Ignored(reason));
                continue;
            }
            document.bytes = bytes;
            taken += 1;
            self.found.documents.push(document);
        }
        self.found.trace.found(place, at, taken);
    }

    fn command_line(&mut self, root: &Root, line: &str, named: &Named, fetch: &mut dyn Fetch) {
        let place = Place::CommandLine;
        let steps = stages::named_by_steps(line);
        let all = steps.iter().map(|setup| (setup, false));
        let all = all.chain(named.documents.iter().map(|setup| (setup, true)));
        for (setup, matters) in all {
            let at = crate::fetch::address(&setup.target);
            match setup.refusal() {
                Some(reason) if self.policy.refusal(place).is_none() => {
                    self.lost(place, &at, matters, reason.to_owned());
                }
                _ => self.take(place, &at, matters, || {
                    let found = document_at(root, setup, fetch)?;
                    let is_lost = matters && found.is_empty();
                    let missing =
                        || Error::Contents { origin: at.clone(), reason: "nothing".into() };
                    if is_lost { Err(missing()) } else { Ok(found) }
                }),
            }
        }
    }

    /// Checks all documents together.
    fn finish(self, command_line: &str, fetch: &mut dyn Fetch) -> Gathered {
        let Self { policy, mut found, metadata } = self;
        let mut resolve = |resource: &Resource, settings: &Ignition| {
            let limit = kiln_config::source::MAXIMUM_BYTES as u64;
            fetch.get(&remote(resource, settings), limit).map_err(|error| error.sentence())
        };
        found.checked = check_with(inputs(&found.documents), None, Some(&mut resolve));
        let metadata = metadata.and_then(|(place, all)| Some((place, all.document()?)));
        if let Some((place, text)) = metadata.filter(|_| is_cloud_config(&found.checked)) {
            // First of all, so that what somebody wrote counts for more than what the cloud made up.
            let name = "metadata".to_owned();
            found.documents.insert(0, Document { name, bytes: text.into_bytes(), place });
            found.checked = check_with(inputs(&found.documents), None, None);
        }
        if policy.refusal(Place::CommandLine).is_none() {
            stages::add_steps(command_line, &mut found.checked, &mut found.trace);
        }
        found
    }
}

fn inputs(documents: &[Document]) -> Vec<Input> {
    let input = |one: &Document| Input { name: one.name.clone(), bytes: one.bytes.clone() };
    documents.iter().map(input).collect()
}

/// Whether nothing but cloud-configs was found: what the cloud says of the machine is one, too, and two
/// dialects may not claim one host name.
fn is_cloud_config(checked: &Checked) -> bool {
    checked.documents.iter().all(|document| {
        document.dialect.is_none_or(|dialect| dialect.family() == Dialect::CloudConfig)
    })
}

/// The documents behind an address or a path of the command line.
pub(crate) fn document_at(
    root: &Root,
    setup: &Setup,
    fetch: &mut dyn Fetch,
) -> Result<Vec<Document>, Error> {
    let limit = kiln_config::source::MAXIMUM_BYTES as u64;
    let place = Place::CommandLine;
    let target = setup.target.strip_prefix("file://").unwrap_or(&setup.target);
    let shown = || url::shown(&setup.target);
    let verified = |bytes: Vec<u8>| {
        let refused = |reason| Error::Contents { origin: shown(), reason };
        setup.hash.as_ref().map_or(Ok(()), |hash| verify(&bytes, hash).map_err(refused))?;
        Ok::<_, Error>(Document { name: shown(), bytes, place })
    };
    if target == setup.target && setup.is_address() {
        let remote = Remote { url: setup.target.clone(), ..Remote::default() };
        return Ok(vec![verified(fetch.get(&remote, limit)?)?]);
    }
    match root.target(target)?.map(|status| status.kind) {
        Some(crate::Kind::Folder) => folder(root, target, place),
        _ => root.read(target, limit)?.map(verified).into_iter().collect(),
    }
}

/// The network, which comes up when it is first needed.
struct Connected<'a> {
    fetch: &'a mut dyn Fetch,
    need_network: &'a mut dyn FnMut() -> Result<(), Error>,
    say: &'a mut dyn FnMut(&str),
    /// What came of asking for it.
    has_network: Option<Result<(), String>>,
}

impl Connected<'_> {
    fn connect(&mut self, to: &str) -> Result<(), Error> {
        if self.has_network.is_none() {
            (self.say)(&format!("fetching {}", crate::fetch::address(to)));
            let came = (self.need_network)();
            self.has_network = Some(came.map_err(|error| error.sentence()));
        }
        match &self.has_network {
            Some(Err(reason)) => {
                let reason = format!("there is no network: {reason}");
                Err(Error::Contents { origin: crate::fetch::address(to), reason })
            }
            _ => Ok(()),
        }
    }
}

impl Fetch for Connected<'_> {
    fn get(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error> {
        if url::scheme(&remote.url).as_deref() != Some("data") {
            self.connect(&remote.url)?;
        }
        self.fetch.get(remote, limit)
    }

    fn get_as_root(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error> {
        self.connect(&remote.url)?;
        self.fetch.get_as_root(remote, limit)
    }

    fn send(&mut self, sending: &Sending<'_>) -> Result<Vec<u8>, Error> {
        self.connect(sending.url)?;
        self.fetch.send(sending)
    }
}

#[cfg(test)]
mod tests;
