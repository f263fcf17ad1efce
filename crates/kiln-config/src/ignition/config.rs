//! The tree of an Ignition config, spec 3.0.0–3.6.0: one for all versions, every value with its place.
//!
//! The newest version holds all that older ones can say, so older configs, translated ones (2.x) and
//! Butane's YAML end in the same types, and only their readers know the difference. A value that was
//! not written is `None` and never a default: merging has to tell the two apart. A value that has to be
//! there and is not is an empty text at the place of its map; [`super::validate`] says so. A tree per
//! version, with a translator between each two, was dropped: seven copies of the same structures.

use serde::Serialize;

use crate::fields::Spanned;
use crate::source::Span;

/// The versions of the spec that are read without translation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "the names say all")]
pub enum Version {
    #[default]
    V3_0,
    V3_1,
    V3_2,
    V3_3,
    V3_4,
    V3_5,
    V3_6,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] =
        [Self::V3_0, Self::V3_1, Self::V3_2, Self::V3_3, Self::V3_4, Self::V3_5, Self::V3_6];

    /// As it stands in `ignition.version`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V3_0 => "3.0.0",
            Self::V3_1 => "3.1.0",
            Self::V3_2 => "3.2.0",
            Self::V3_3 => "3.3.0",
            Self::V3_4 => "3.4.0",
            Self::V3_5 => "3.5.0",
            Self::V3_6 => "3.6.0",
        }
    }

    /// The version with exactly this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name() == name)
    }
}

/// A whole config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// The whole document.
    pub span: Span,
    /// `ignition.version`.
    pub version: Spanned<Version>,
    /// `ignition`, but for its version.
    pub ignition: Ignition,
    /// `kernelArguments`.
    pub kernel_arguments: KernelArguments,
    /// `passwd`.
    pub passwd: Passwd,
    /// `storage`.
    pub storage: Storage,
    /// `systemd`.
    pub systemd: Systemd,
}

/// `ignition`: other configs, and how they are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ignition {
    /// `config.merge`: configs that are merged into this one, in order.
    pub merge: Vec<Resource>,
    /// `config.replace`: the config that takes this one's place.
    pub replace: Option<Resource>,
    /// `timeouts`.
    pub timeouts: Timeouts,
    /// `security.tls.certificateAuthorities`.
    pub certificate_authorities: Vec<Resource>,
    /// `proxy`.
    pub proxy: Proxy,
}

/// `ignition.timeouts`, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// `httpResponseHeaders`: until the header of an answer is there.
    pub http_response_headers: Option<Spanned<i64>>,
    /// `httpTotal`: for the whole transfer; 0 is without end.
    pub http_total: Option<Spanned<i64>>,
}

/// `ignition.proxy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Proxy {
    /// `httpProxy`.
    pub http_proxy: Option<Spanned<String>>,
    /// `httpsProxy`.
    pub https_proxy: Option<Spanned<String>>,
    /// `noProxy`: hosts that are asked directly.
    pub no_proxy: Vec<Spanned<String>>,
}

/// Bytes and where they come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// The map.
    pub span: Span,
    /// `source`: a URL; contents that stand in the document itself are a `data:` URL (see
    /// [`super::data`]).
    pub source: Option<Spanned<String>>,
    /// `compression`: empty or `gzip`.
    pub compression: Option<Spanned<String>>,
    /// `httpHeaders`.
    pub http_headers: Vec<Header>,
    /// `verification.hash`: `sha256-<hex>` or `sha512-<hex>` of the decompressed bytes.
    pub hash: Option<Spanned<String>>,
}

/// A header line that is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Header {
    /// The map.
    pub span: Span,
    /// `name`.
    pub name: Spanned<String>,
    /// `value`; without one, merging removes the header of the parent.
    pub value: Option<Spanned<String>>,
}

/// `kernelArguments`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KernelArguments {
    /// `shouldExist`.
    pub should_exist: Vec<Spanned<String>>,
    /// `shouldNotExist`.
    pub should_not_exist: Vec<Spanned<String>>,
}

/// `passwd`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Passwd {
    /// `users`.
    pub users: Vec<User>,
    /// `groups`.
    pub groups: Vec<Group>,
}

/// An entry of `passwd.users`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct User {
    /// The map.
    pub span: Span,
    /// `name`.
    pub name: Spanned<String>,
    /// `passwordHash`.
    pub password_hash: Option<Spanned<String>>,
    /// `sshAuthorizedKeys`.
    pub ssh_authorized_keys: Vec<Spanned<String>>,
    /// `uid`.
    pub uid: Option<Spanned<i64>>,
    /// `gecos`.
    pub gecos: Option<Spanned<String>>,
    /// `homeDir`.
    pub home_dir: Option<Spanned<String>>,
    /// `noCreateHome`.
    pub no_create_home: Option<Spanned<bool>>,
    /// `primaryGroup`.
    pub primary_group: Option<Spanned<String>>,
    /// `groups`.
    pub groups: Vec<Spanned<String>>,
    /// `noUserGroup`.
    pub no_user_group: Option<Spanned<bool>>,
    /// `noLogInit`.
    pub no_log_init: Option<Spanned<bool>>,
    /// `shell`.
    pub shell: Option<Spanned<String>>,
    /// `shouldExist`.
    pub should_exist: Option<Spanned<bool>>,
    /// `system`.
    pub system: Option<Spanned<bool>>,
}

/// An entry of `passwd.groups`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The map.
    pub span: Span,
    /// `name`.
    pub name: Spanned<String>,
    /// `gid`.
    pub gid: Option<Spanned<i64>>,
    /// `passwordHash`.
    pub password_hash: Option<Spanned<String>>,
    /// `shouldExist`.
    pub should_exist: Option<Spanned<bool>>,
    /// `system`.
    pub system: Option<Spanned<bool>>,
}

/// `storage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// `disks`.
    pub disks: Vec<Disk>,
    /// `raid`.
    pub raid: Vec<Raid>,
    /// `luks`.
    pub luks: Vec<Luks>,
    /// `filesystems`.
    pub filesystems: Vec<Filesystem>,
    /// `files`.
    pub files: Vec<File>,
    /// `directories`.
    pub directories: Vec<Directory>,
    /// `links`.
    pub links: Vec<Link>,
}

/// An entry of `storage.disks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The map.
    pub span: Span,
    /// `device`.
    pub device: Spanned<String>,
    /// `wipeTable`.
    pub wipe_table: Option<Spanned<bool>>,
    /// `partitions`.
    pub partitions: Vec<Partition>,
}

/// An entry of `partitions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// The map.
    pub span: Span,
    /// `number`; 0 is none.
    pub number: Option<Spanned<i64>>,
    /// `label`.
    pub label: Option<Spanned<String>>,
    /// `startMiB`.
    pub start_mib: Option<Spanned<i64>>,
    /// `sizeMiB`.
    pub size_mib: Option<Spanned<i64>>,
    /// `guid`.
    pub guid: Option<Spanned<String>>,
    /// `typeGuid`.
    pub type_guid: Option<Spanned<String>>,
    /// `shouldExist`.
    pub should_exist: Option<Spanned<bool>>,
    /// `wipePartitionEntry`.
    pub wipe_partition_entry: Option<Spanned<bool>>,
    /// `resize`.
    pub resize: Option<Spanned<bool>>,
}

/// An entry of `storage.raid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Raid {
    /// The map.
    pub span: Span,
    /// `name`.
    pub name: Spanned<String>,
    /// `level`.
    pub level: Option<Spanned<String>>,
    /// `devices`.
    pub devices: Vec<Spanned<String>>,
    /// `spares`.
    pub spares: Option<Spanned<i64>>,
    /// `options`.
    pub options: Vec<Spanned<String>>,
}

/// An entry of `storage.luks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Luks {
    /// The map.
    pub span: Span,
    /// `name`.
    pub name: Spanned<String>,
    /// `device`.
    pub device: Option<Spanned<String>>,
    /// `keyFile`.
    pub key_file: Option<Resource>,
    /// `label`.
    pub label: Option<Spanned<String>>,
    /// `uuid`.
    pub uuid: Option<Spanned<String>>,
    /// `options`.
    pub options: Vec<Spanned<String>>,
    /// `discard`.
    pub discard: Option<Spanned<bool>>,
    /// `openOptions`.
    pub open_options: Vec<Spanned<String>>,
    /// `wipeVolume`.
    pub wipe_volume: Option<Spanned<bool>>,
    /// `clevis`.
    pub clevis: Option<Clevis>,
    /// `cex`.
    pub cex: Option<Cex>,
}

/// `clevis`: what opens a volume by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Clevis {
    /// The map.
    pub span: Span,
    /// `tang`.
    pub tang: Vec<Tang>,
    /// `tpm2`.
    pub tpm2: Option<Spanned<bool>>,
    /// `threshold`.
    pub threshold: Option<Spanned<i64>>,
    /// `custom`.
    pub custom: Option<Custom>,
}

/// An entry of `tang`: a server that helps to open the volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tang {
    /// The map.
    pub span: Span,
    /// `url`.
    pub url: Spanned<String>,
    /// `thumbprint`.
    pub thumbprint: Option<Spanned<String>>,
    /// `advertisement`: JSON.
    pub advertisement: Option<Spanned<String>>,
}

/// `custom`: a pin of clevis that Ignition does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Custom {
    /// The map.
    pub span: Span,
    /// `pin`.
    pub pin: Option<Spanned<String>>,
    /// `config`: JSON.
    pub config: Option<Spanned<String>>,
    /// `needsNetwork`.
    pub needs_network: Option<Spanned<bool>>,
}

/// `cex`: IBM Crypto Express.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cex {
    /// The map.
    pub span: Span,
    /// `enabled`.
    pub enabled: Option<Spanned<bool>>,
}

/// An entry of `storage.filesystems`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// The map.
    pub span: Span,
    /// `device`.
    pub device: Spanned<String>,
    /// `format`.
    pub format: Option<Spanned<String>>,
    /// `path`.
    pub path: Option<Spanned<String>>,
    /// `label`.
    pub label: Option<Spanned<String>>,
    /// `uuid`.
    pub uuid: Option<Spanned<String>>,
    /// `options`.
    pub options: Vec<Spanned<String>>,
    /// `mountOptions`.
    pub mount_options: Vec<Spanned<String>>,
    /// `wipeFilesystem`.
    pub wipe_filesystem: Option<Spanned<bool>>,
}

/// What files, directories and links have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The map.
    pub span: Span,
    /// `path`.
    pub path: Spanned<String>,
    /// `overwrite`.
    pub overwrite: Option<Spanned<bool>>,
    /// `user`.
    pub user: Option<Account>,
    /// `group`.
    pub group: Option<Account>,
}

/// `user` or `group` of an entry: number or name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The map.
    pub span: Span,
    /// `id`.
    pub id: Option<Spanned<i64>>,
    /// `name`.
    pub name: Option<Spanned<String>>,
}

/// An entry of `storage.files`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct File {
    /// Path and owner.
    pub entry: Entry,
    /// `mode`.
    pub mode: Option<Spanned<i64>>,
    /// `contents`.
    pub contents: Option<Resource>,
    /// `append`.
    pub append: Vec<Resource>,
}

/// An entry of `storage.directories`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Directory {
    /// Path and owner.
    pub entry: Entry,
    /// `mode`.
    pub mode: Option<Spanned<i64>>,
}

/// An entry of `storage.links`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Path and owner.
    pub entry: Entry,
    /// `target`.
    pub target: Option<Spanned<String>>,
    /// `hard`.
    pub hard: Option<Spanned<bool>>,
}

/// `systemd`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Systemd {
    /// `units`.
    pub units: Vec<Unit>,
}

/// An entry of `systemd.units`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// The map.
    pub span: Span,
    /// `name`.
    pub name: Spanned<String>,
    /// `enabled`.
    pub enabled: Option<Spanned<bool>>,
    /// `mask`.
    pub mask: Option<Spanned<bool>>,
    /// `contents`.
    pub contents: Option<Spanned<String>>,
    /// `dropins`.
    pub dropins: Vec<Dropin>,
}

/// An entry of `dropins`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dropin {
    /// The map.
    pub span: Span,
    /// `name`.
    pub name: Spanned<String>,
    /// `contents`.
    pub contents: Option<Spanned<String>>,
}
