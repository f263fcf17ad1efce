//! The metadata of a cloud: user data, host name and keys.
//!
//! A cloud is asked only where the machine's firmware or the kernel command line names it: on any other network
//! whoever answers at the well-known address would own the machine. What a cloud says is in one table; here is
//! how it is asked. A client of each cloud's library was dropped: user data, a name and keys are three documents
//! behind one address each.

mod table;

use std::path::Path;
use std::time::Duration;

use kiln_config::action::Remote;
use kiln_config::ignition::data;
use kiln_registry::SendMethod;
use serde_json::Value;

pub(crate) use self::table::{CLOUDS, Cloud, Encoding, Keys, UNREACHABLE};
use self::table::{Metadata as Places, Sign};
use crate::contents::unpacked;
use crate::fetch::Sending;
use crate::{Error, Fetch};

/// Seconds for one document, attempts that failed included: metadata come up with the machine's network.
const PATIENCE: u64 = 60;
/// Largest answer about name and keys, in bytes.
const METADATA_BYTES: u64 = 1 << 20;
/// Most keys of one machine.
const MAXIMUM_KEYS: usize = 256;
/// Where EC2 gives a token, the header that says how long it counts, and the header that carries it (Amazon EC2
/// user guide, "Use IMDSv2").
const TOKEN: &str = "/latest/api/token";
const TOKEN_SECONDS: (&str, &str) = ("X-aws-ec2-metadata-token-ttl-seconds", "300");
const TOKEN_HEADER: &str = "X-aws-ec2-metadata-token";
/// Times that a token is asked for, and how long is waited between.
const TOKEN_ATTEMPTS: u32 = 4;
const TOKEN_DELAY: Duration = Duration::from_millis(500);

/// What the firmware says of the machine, as the kernel shows it (Documentation/ABI/testing/sysfs-class-dmi).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Firmware(Vec<(&'static str, String)>);

impl Firmware {
    /// Reads it from a folder where sysfs is mounted; what is not there is empty.
    pub(crate) fn read(devices: &Path) -> Self {
        let read = |field| {
            let path = devices.join("class/dmi/id").join(field);
            // One page is all that sysfs gives (Documentation/filesystems/sysfs.rst).
            let text = kiln_etc::file::read_small(&path, 4096).ok().flatten().unwrap_or_default();
            (field, String::from_utf8_lossy(&text).trim().to_owned())
        };
        Self(table::FIELDS.map(read).into())
    }

    fn has(&self, sign: &Sign) -> bool {
        self.0.iter().any(|(field, text)| *field == sign.0 && text.starts_with(sign.1))
    }

    /// The cloud that it names.
    pub(crate) fn cloud(&self) -> Option<&'static Cloud> {
        CLOUDS
            .iter()
            .find(|cloud| cloud.signs.iter().any(|all| all.iter().all(|one| self.has(one))))
    }
}

/// The cloud of a platform as Ignition names it.
pub(crate) fn of_platform(platform: &str) -> Option<&'static Cloud> {
    CLOUDS.iter().find(|cloud| cloud.platforms.contains(&platform))
}

/// What a machine is told of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) hostname: Option<String>,
    pub(crate) keys: Vec<String>,
}

/// All that a cloud says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) user_data: Option<Vec<u8>>,
    pub(crate) metadata: Metadata,
}

/// Asks a cloud at an address, which is [`Cloud::address`] but in tests.
pub(crate) fn ask(cloud: &Cloud, address: &str, fetch: &mut dyn Fetch) -> Result<Answer, Error> {
    let mut headers: Vec<(String, String)> =
        cloud.header.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    if cloud.has_token {
        headers.push((TOKEN_HEADER.to_owned(), token(address, fetch)?));
    }
    let remote = |path: &str| Remote {
        url: format!("{address}{path}"),
        headers: headers.clone(),
        timeout: PATIENCE,
        ..Remote::default()
    };
    let limit = kiln_config::source::MAXIMUM_BYTES as u64;
    let user_data = remote(cloud.user_data);
    let raw = match cloud.asks_as_root {
        true => fetch.get_as_root(&user_data, limit),
        false => fetch.get(&user_data, limit),
    };
    let raw = absent(raw)?;
    let user_data = raw.map(|raw| opened(raw, cloud)).transpose()?.flatten();
    let mut text = |path: &str| {
        let found = absent(fetch.get(&remote(path), METADATA_BYTES))?;
        Ok::<_, Error>(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let metadata = match cloud.metadata {
        Places::Document(path) => of_document(&text(path)?.unwrap_or_default()),
        Places::Each { hostname, keys, form } => {
            let found = match form {
                Keys::Numbered => numbered(keys, &mut text)?,
                _ => text(keys)?.map(|text| of_text(&text, form)).unwrap_or_default(),
            };
            Metadata { hostname: text(hostname)?, keys: found }
        }
    };
    Ok(Answer { user_data, metadata: metadata.cleaned() })
}

/// That nothing is there is an answer, too.
fn absent(found: Result<Vec<u8>, Error>) -> Result<Option<Vec<u8>>, Error> {
    match found {
        Err(Error::Network(kiln_registry::Error::Status { status: 204 | 404, .. })) => Ok(None),
        other => other.map(Some),
    }
}

fn token(address: &str, fetch: &mut dyn Fetch) -> Result<String, Error> {
    let headers = [(TOKEN_SECONDS.0.to_owned(), TOKEN_SECONDS.1.to_owned())];
    let url = format!("{address}{TOKEN}");
    let sending = Sending {
        method: SendMethod::Put,
        url: &url,
        headers: &headers,
        media_type: "text/plain",
        bytes: &[],
        patience: Duration::from_secs(10),
        limit: 4096,
    };
    let mut attempt = 1;
    loop {
        match fetch.send(&sending) {
            Ok(token) => {
                let token = String::from_utf8_lossy(&token);
                return Ok(token.chars().filter(char::is_ascii_graphic).collect());
            }
            Err(Error::Network(error)) if error.is_passing() && attempt < TOKEN_ATTEMPTS => {
                std::thread::sleep(TOKEN_DELAY);
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// User data as its owner wrote it; nothing where it is empty.
fn opened(raw: Vec<u8>, cloud: &Cloud) -> Result<Option<Vec<u8>>, Error> {
    let origin = || format!("the user data of {}", cloud.title);
    let refused = |reason: String| Error::Contents { origin: origin(), reason };
    let bytes = match cloud.encoding {
        Encoding::Plain => raw,
        Encoding::Base64 => {
            let url = format!("data:;base64,{}", String::from_utf8_lossy(&raw).trim());
            data::decode(&url).map_err(|_| refused("they are no base64".into()))?
        }
    };
    Ok(inflated(bytes).map_err(refused)?.filter(|bytes| !bytes.trim_ascii().is_empty()))
}

/// User data that tools compressed to fit into what a cloud allows.
pub(crate) fn inflated(bytes: Vec<u8>) -> Result<Option<Vec<u8>>, String> {
    let limit = kiln_config::source::MAXIMUM_BYTES as u64;
    let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
    if is_gzip { unpacked(&bytes, limit).map(Some) } else { Ok(Some(bytes)) }
}

/// EC2's list: `0=name` lines, and each key behind its number.
fn numbered(
    path: &str,
    text: &mut dyn FnMut(&str) -> Result<Option<String>, Error>,
) -> Result<Vec<String>, Error> {
    let mut keys = Vec::new();
    for line in text(path)?.unwrap_or_default().lines().take(MAXIMUM_KEYS) {
        let number = line.split('=').next().unwrap_or_default();
        if number.parse::<u32>().is_ok() {
            keys.extend(text(&format!("{path}{number}/openssh-key"))?);
        }
    }
    Ok(keys)
}

/// Keys as a cloud writes them.
fn of_text(text: &str, form: Keys) -> Vec<String> {
    let lines = || text.lines().map(str::to_owned);
    match form {
        Keys::Lines | Keys::Numbered => lines().collect(),
        // `user:key`, and keys that expire, which somebody has to take away again, are not taken.
        Keys::Named => lines()
            .filter(|line| !line.contains("google-ssh"))
            .filter_map(|line| line.split_once(':').map(|(_, key)| key.to_owned()))
            .collect(),
        Keys::List => strings(&serde_json::from_str(text).unwrap_or_default()),
        Keys::Objects => {
            let list: Value = serde_json::from_str(text).unwrap_or_default();
            let keys = list.as_array().into_iter().flatten();
            keys.filter_map(|one| one.get("keyData")?.as_str().map(str::to_owned)).collect()
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// OpenStack's `meta_data.json`, from its server or its drive, and Scaleway's `conf`, which has another list of
/// keys.
pub(crate) fn of_document(text: &str) -> Metadata {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let hostname = document.get("hostname").and_then(Value::as_str).map(str::to_owned);
    let keys = document.get("public_keys").and_then(Value::as_object).into_iter().flatten();
    let keys = keys.filter_map(|(_, key)| key.as_str().map(str::to_owned));
    let listed = document.get("ssh_public_keys").and_then(Value::as_array).into_iter().flatten();
    let listed = listed.filter_map(|one| one.get("key")?.as_str().map(str::to_owned));
    let keys = keys.chain(listed).collect();
    Metadata { hostname, keys }.cleaned()
}

/// NoCloud's `meta-data`: YAML with the host name.
pub(crate) fn of_no_cloud(text: &str) -> Metadata {
    let mut sources = kiln_config::Sources::default();
    let id = sources.add("meta-data", text);
    let Ok(node) = kiln_config::yaml::document(id, text) else { return Metadata::default() };
    let name = ["local-hostname", "hostname"].into_iter().find_map(|key| node.get(key)?.text());
    let keys = node.get("public-keys").and_then(|keys| keys.list()).unwrap_or_default();
    let keys = keys.iter().filter_map(|key| key.text().map(str::to_owned)).collect();
    Metadata { hostname: name.map(str::to_owned), keys }.cleaned()
}

impl Metadata {
    fn cleaned(self) -> Self {
        let clean = |text: String| {
            let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
            Some(text.trim().to_owned()).filter(|text| !text.is_empty() && !text.starts_with('#'))
        };
        let lines = self.keys.iter().flat_map(|key| key.lines()).map(str::to_owned);
        let mut keys: Vec<String> = Vec::new();
        for key in lines.filter_map(clean).take(MAXIMUM_KEYS) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Self { hostname: self.hostname.and_then(clean), keys }
    }

    /// What it asks for, as a cloud-config: yip's `datasource` does the same with it.
    pub(crate) fn document(&self) -> Option<String> {
        let mut step = serde_json::Map::from_iter([("name".to_owned(), "metadata".into())]);
        if let Some(hostname) = &self.hostname {
            step.insert("hostname".to_owned(), hostname.as_str().into());
        }
        if !self.keys.is_empty() {
            let keys = serde_json::json!({ "root": self.keys });
            step.insert("authorized_keys".to_owned(), keys);
        }
        let is_empty = step.len() == 1;
        let document = serde_json::json!({ "stages": { "initramfs": [step] } });
        (!is_empty).then(|| document.to_string())
    }
}

#[cfg(test)]
mod tests;
