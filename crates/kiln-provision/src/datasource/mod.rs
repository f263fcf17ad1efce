//! yip's `datasource`: user data, host name and keys from a drive or a cloud, in a step that asks for them.
//!
//! Drives come first, one after the other; then the clouds, of which only the one is asked that the firmware
//! names. yip asks all that the step lists, at the same time, and takes the first answer; on a network where
//! somebody else answers at those addresses that hands the machine over. What was found is written where yip
//! writes it, and host name and keys are applied as if a step had them.

use std::path::Path;

use kiln_config::action::{AuthorizedKeys, Datasource};
use kiln_config::check::{Dialect, Input, check};
use kiln_config::operation::Text;

use crate::sources::cloud::{self, CLOUDS, Cloud, Firmware, Metadata, UNREACHABLE};
use crate::sources::volumes::{self, CIDATA, CONFIG_DRIVE, Volume};
use crate::sources::{BlockVolumes, Volumes};
use crate::{Error, Owner, Surroundings};

/// Where metadata go, and user data unless the step names a folder (yip, `datasource`).
const FOLDER: &str = "/run/config";
/// Name of user data that are a cloud-config, unless the step names it.
const NAME: &str = "userdata.yaml";
/// Only root reads user data: they may hold tokens. yip lets everybody.
const MODE: u32 = 0o600;
/// A script can be started.
const SCRIPT_MODE: u32 = 0o700;

/// What was found.
struct Found {
    provider: String,
    user_data: Option<Vec<u8>>,
    metadata: Metadata,
}

/// Whether a source is asked without the network.
pub(crate) fn is_local(provider: &str) -> bool {
    matches!(provider, "cdrom" | "config-drive" | "file" | "vmware")
}

impl Surroundings<'_> {
    pub(crate) fn datasource(&mut self, wanted: &Datasource) -> Result<(), Error> {
        // Where the kernel's files are, those of devices are beside them.
        let devices = self.kernel.parent().unwrap_or(Path::new("/")).join("sys");
        let firmware = Firmware::read(&devices);
        let mut volumes = BlockVolumes::default().shown_in(&devices);
        self.datasource_of(wanted, &mut volumes, firmware.cloud())
    }

    fn datasource_of(
        &mut self,
        wanted: &Datasource,
        volumes: &mut dyn Volumes,
        here: Option<&Cloud>,
    ) -> Result<(), Error> {
        let found = match self.on_drives(wanted, volumes)? {
            Some(found) => Some(found),
            None => self.in_clouds(wanted, here)?,
        };
        let Some(found) = found else {
            let reason = format!("none of {} has any", wanted.providers.join(", "));
            return Err(Error::Contents { origin: "user data".into(), reason });
        };
        self.root.directory(FOLDER, 0o755, Owner::default())?;
        self.write_found("provider", found.provider.as_bytes(), 0o644)?;
        let data = found.user_data.as_deref();
        let written = data.map_or(Ok(()), |data| self.user_data(wanted, data));
        // A script that fails does not take the name and the keys away.
        self.metadata(&found.metadata).and(written)
    }

    fn on_drives(
        &mut self,
        wanted: &Datasource,
        volumes: &mut dyn Volumes,
    ) -> Result<Option<Found>, Error> {
        let mut kinds: Vec<(&str, Volume)> = Vec::new();
        for provider in &wanted.providers {
            match provider.as_str() {
                "cdrom" => kinds.push((provider, CIDATA)),
                "config-drive" => kinds.push((provider, CONFIG_DRIVE)),
                _ => {}
            }
        }
        if kinds.is_empty() {
            return Ok(None);
        }
        let devices = volumes.list()?;
        for (provider, kind) in kinds {
            let Some((_, choice)) = volumes::choose(&devices, &[kind]).into_iter().next() else {
                continue;
            };
            let (node, format) = choice.map_err(|nodes| {
                let reason = format!("{} all have this label", nodes.join(", "));
                Error::Contents { origin: format!("volume {}", kind.label), reason }
            })?;
            let drive = volumes::documents(kind, &node, format, volumes)?;
            let text = drive.metadata.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let metadata = text.map(|text| match provider {
                "cdrom" => cloud::of_no_cloud(&text),
                _ => cloud::of_document(&text),
            });
            let is_user_data = |name: &str| kind.files.iter().any(|file| name.ends_with(file));
            let document = drive.documents.into_iter().find(|one| is_user_data(&one.name));
            return Ok(Some(Found {
                provider: provider.to_owned(),
                user_data: document.map(|one| inflated(one.bytes)).transpose()?.flatten(),
                metadata: metadata.unwrap_or_default(),
            }));
        }
        Ok(None)
    }

    fn in_clouds(
        &mut self,
        wanted: &Datasource,
        here: Option<&Cloud>,
    ) -> Result<Option<Found>, Error> {
        let mut reason = None;
        for provider in &wanted.providers {
            if provider == "file" {
                return self.in_file(wanted);
            }
            reason = reason.or_else(|| UNREACHABLE.iter().find(|(name, _)| name == provider));
            let Some(cloud) = CLOUDS.iter().find(|cloud| cloud.provider == provider) else {
                continue;
            };
            // Machines of some clouds do not say where they are; there the document's word counts if it names
            // that one alone.
            let is_named = cloud.signs.is_empty() && wanted.providers.len() == 1;
            if here != Some(cloud) && !is_named {
                continue;
            }
            let answer = cloud::ask(cloud, cloud.address, self.fetch)?;
            let (user_data, metadata) = (answer.user_data, answer.metadata);
            return Ok(Some(Found { provider: provider.clone(), user_data, metadata }));
        }
        match reason {
            Some((name, reason)) => Err(Error::Contents {
                origin: format!("user data of {name}"),
                reason: (*reason).to_owned(),
            }),
            None => Ok(None),
        }
    }

    /// `file`: `path` is then the file, and what is written goes to the usual folder.
    fn in_file(&mut self, wanted: &Datasource) -> Result<Option<Found>, Error> {
        let Some(path) = &wanted.path else { return Ok(None) };
        let bytes = self.root.read(path, kiln_config::source::MAXIMUM_BYTES as u64)?;
        let found = |user_data| Found {
            provider: "file".to_owned(),
            user_data: Some(user_data),
            metadata: Metadata::default(),
        };
        Ok(bytes.map(found))
    }

    fn user_data(&mut self, wanted: &Datasource, bytes: &[u8]) -> Result<(), Error> {
        let is_file = wanted.providers.iter().any(|provider| provider == "file");
        let folder = wanted.path.as_deref().filter(|_| !is_file).unwrap_or(FOLDER);
        let folder = folder.trim_end_matches('/');
        if self.root.target(folder)?.is_none() {
            self.root.directory(folder, 0o755, Owner::default())?;
        }
        let raw = format!("{folder}/userdata");
        let is_script = bytes.starts_with(b"#!");
        let mode = if is_script { SCRIPT_MODE } else { MODE };
        self.root.write(&raw, bytes, mode, Owner::default())?;
        if is_script {
            return self.program("the script in the user data", &raw, &[]);
        }
        let input = Input { name: raw, bytes: bytes.to_vec() };
        let dialect = check(vec![input], None).documents.first().and_then(|one| one.dialect);
        if matches!(dialect, Some(Dialect::CloudConfig | Dialect::Yip)) {
            let name = wanted.userdata_name.as_deref().unwrap_or(NAME);
            self.root.write(&format!("{folder}/{name}"), bytes, MODE, Owner::default())?;
        }
        Ok(())
    }

    fn metadata(&mut self, metadata: &Metadata) -> Result<(), Error> {
        if let Some(name) = &metadata.hostname {
            self.write_found("hostname", name.as_bytes(), 0o644)?;
            self.set_host_name(&Text::Plain(name.clone()))?;
        }
        if metadata.keys.is_empty() {
            return Ok(());
        }
        self.root.directory(&format!("{FOLDER}/ssh"), 0o755, Owner::default())?;
        let mut text = metadata.keys.join("\n");
        text.push('\n');
        self.write_found("ssh/authorized_keys", text.as_bytes(), 0o600)?;
        self.authorized_keys(&AuthorizedKeys {
            user: Text::Plain("root".to_owned()),
            // Only keys themselves: an address in metadata would be one more thing to trust.
            keys: metadata
                .keys
                .iter()
                .filter(|key| !key.contains("://"))
                .cloned()
                .map(Text::Plain)
                .collect(),
            file: "authorized_keys".to_owned(),
        })
    }

    fn write_found(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
        self.root.write(&format!("{FOLDER}/{name}"), bytes, mode, Owner::default())
    }
}

fn inflated(bytes: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let refused = |reason| Error::Contents { origin: "user data".into(), reason };
    Ok(cloud::inflated(bytes).map_err(refused)?.filter(|bytes| !bytes.trim_ascii().is_empty()))
}

#[cfg(test)]
mod tests;
