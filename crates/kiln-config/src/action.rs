//! What an operation does: the words that all dialects share.
//!
//! An action says what is wanted and never how a dialect wrote it; a field that only one dialect knows
//! is here too, with the value that it has in the others. Values are checked before they get here.
//! Strings that the machine has to fill are [`Text`]; all others are final.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::operation::Text;
use crate::storage::{Disk, Filesystem, Layout, Luks, Raid};

/// What is done. Paths are absolute paths of the machine; the executor resolves them inside the root
/// that belongs to the stage and lets no symbolic link lead out of it.
/// Folders that are missing on the way to a path are made with 0755 and belong to root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Partitions one disk.
    Disk(Disk),
    /// Assembles a RAID array with the image's `mdadm`.
    Raid(Raid),
    /// Makes or opens an encrypted volume with the image's `cryptsetup`.
    Luks(Luks),
    /// Makes or keeps a file system, and mounts it where `path` is given.
    Filesystem(Filesystem),
    /// Elemental's `layout`.
    Layout(Layout),
    /// A folder.
    Directory(Directory),
    /// A file.
    File(File),
    /// A symbolic or hard link.
    Link(Link),
    /// One entry of an account file, in the words of yip's entities.
    Entity(Entity),
    /// A group.
    Group(Group),
    /// A user.
    User(User),
    /// Keys that may log in.
    AuthorizedKeys(AuthorizedKeys),
    /// A systemd unit and its drop-ins.
    Unit(Unit),
    /// A verb of `systemctl`.
    Systemctl(Systemctl),
    /// A command.
    Command(Command),
    /// The host name.
    Hostname(Text),
    /// A kernel parameter below `/proc/sys`.
    Sysctl(Setting),
    /// A kernel module with its parameters.
    Module(Setting),
    /// Variables merged into an environment file.
    Environment(Environment),
    /// Sections of systemd-timesyncd's configuration.
    Timesyncd(BTreeMap<String, Text>),
    /// Name servers.
    Dns(Dns),
    /// Options of `systemd-firstboot`.
    SystemdFirstboot(BTreeMap<String, Text>),
    /// User data of a cloud.
    Datasource(Datasource),
    /// A git repository.
    Git(Git),
    /// A container image unpacked into a folder.
    UnpackImage(UnpackImage),
    /// Kernel arguments of the next boots.
    KernelArguments(KernelArguments),
    /// Paths that are writable, and for how long.
    Persistence(Persistence),
    /// A volume that is mounted at each boot.
    Volume(Volume),
    /// An https or http address that is told how the first boot ended.
    Report(String),
}

/// Bytes, and where they come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Where from.
    pub source: Source,
    /// Whether the bytes are compressed with gzip (RFC 1952).
    pub gzip: bool,
    /// What the bytes must be, decompressed: `sha256-<hex>` or `sha512-<hex>`.
    pub hash: Option<String>,
    /// Never shown: passwords, keys, tokens.
    pub secret: bool,
}

impl Contents {
    /// Bytes as they are.
    #[must_use]
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { source: Source::Bytes(bytes.into()), gzip: false, hash: None, secret: false }
    }
}

/// Where contents come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// From the document itself.
    Bytes(Vec<u8>),
    /// From the document, with holes.
    Template(String),
    /// From the network.
    Remote(Remote),
}

/// An address from which bytes are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Remote {
    /// With scheme: https, http, tftp, oci, s3, gs or arn.
    pub url: String,
    /// Header lines to send; never shown, since they carry tokens.
    pub headers: Vec<(String, String)>,
    /// Seconds for the whole transfer; 0 is without end.
    pub timeout: u64,
    /// Seconds until the header of the answer is there; 0 is without end.
    pub header_timeout: u64,
    /// URL of the proxy that is asked; nothing is the server itself.
    pub proxy: Option<String>,
    /// Certificates (PEM) of authorities that are trusted beside those of the image.
    pub authorities: Vec<String>,
}

/// To whom an entry belongs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// User name or decimal number; nothing keeps what is there, and is root where nothing is.
    pub user: Option<String>,
    /// Group name or decimal number.
    pub group: Option<String>,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Directory {
    /// Where.
    pub path: Text,
    /// Permission bits; nothing keeps those of a folder that is there, and is 0755 where none is.
    pub mode: Option<u32>,
    /// To whom it belongs.
    pub owner: Owner,
    /// Whether what is there and is no folder, or the folder with all in it, gives way.
    pub replace: bool,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Where.
    pub path: Text,
    /// What it holds; nothing keeps what is there, and is empty where nothing is.
    pub contents: Option<Contents>,
    /// What is put behind it.
    pub append: Vec<Contents>,
    /// Permission bits; nothing keeps those of a file that is kept, and is 0644 otherwise.
    pub mode: Option<u32>,
    /// To whom it belongs.
    pub owner: Owner,
    /// Whether a file that is there gives way; without it, one that is there is an error.
    pub overwrite: bool,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Where.
    pub path: String,
    /// What it points to.
    pub target: String,
    /// A hard link instead of a symbolic one.
    pub hard: bool,
    /// To whom a symbolic one belongs.
    pub owner: Owner,
    /// Whether what is there gives way.
    pub overwrite: bool,
}

/// One line of an account file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entity {
    /// The file; nothing is the one of its kind in `/etc`.
    pub path: Option<Text>,
    /// The YAML text of the entity, as yip takes it (`kind: group`, …).
    pub entity: Text,
    /// Whether it is to be absent.
    pub delete: bool,
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Number; nothing is the next free one.
    pub gid: Option<u32>,
    /// Hash of a password, crypt(5).
    pub password_hash: Option<String>,
    /// Whether it takes a number of the system's range.
    pub system: bool,
    /// Whether it is to be absent.
    pub absent: bool,
}

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct User {
    /// Name.
    pub name: String,
    /// Hash of the password (crypt(5)), or one in plain text that is hashed before it is stored.
    pub password: Option<Password>,
    /// Number; nothing is the next free one.
    pub uid: Option<u32>,
    /// Full name and the like.
    pub gecos: Option<String>,
    /// Home folder; nothing is `/home/<name>`.
    pub home: Option<String>,
    /// Whether the home folder is made.
    pub create_home: bool,
    /// Name of the main group; nothing is one of the user's own name.
    pub primary_group: Option<String>,
    /// Further groups.
    pub groups: Vec<String>,
    /// Whether the user has no group of its own name.
    pub no_user_group: bool,
    /// Whether lastlog and faillog get no entry.
    pub no_log_init: bool,
    /// Shell; nothing is the image's default.
    pub shell: Option<String>,
    /// Whether it takes a number of the system's range.
    pub system: bool,
    /// Whether no password opens it.
    pub lock: bool,
    /// Keys that may log in.
    pub keys: Vec<String>,
    /// Whether it is to be absent.
    pub absent: bool,
    /// Whether an account that is there keeps all but its password (yip) or is changed to this (Ignition).
    pub keep_existing: bool,
}

/// A password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Password {
    /// As crypt(5) writes it.
    Hash(String),
    /// In clear; hashed before it touches a disk.
    Plain(String),
}

/// Keys that may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuthorizedKeys {
    /// Whose.
    pub user: Text,
    /// Keys, `github:NAME`, `gitlab:NAME` or https addresses.
    pub keys: Vec<Text>,
    /// File below `.ssh`: `authorized_keys`, or `authorized_keys.d/ignition`.
    pub file: String,
}

/// A systemd unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Name with suffix.
    pub name: String,
    /// Text of the unit.
    pub contents: Option<Text>,
    /// Enabled, disabled or left alone.
    pub enabled: Option<bool>,
    /// Masked, unmasked or left alone.
    pub mask: Option<bool>,
    /// Drop-ins: name and text.
    pub dropins: Vec<(String, Text)>,
}

/// A verb of `systemctl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Systemctl {
    /// The verb.
    pub verb: SystemctlVerb,
    /// The unit.
    pub unit: Text,
}

/// The verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are systemctl's own words")]
pub enum SystemctlVerb {
    Enable,
    Disable,
    Mask,
    Start,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Given to `sh -c`.
    pub script: Text,
}

/// A name with a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Name.
    pub name: String,
    /// Value; for a module its parameters.
    pub value: Text,
}

/// Variables of an environment file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// The file.
    pub file: Text,
    /// The variables.
    pub variables: BTreeMap<String, Text>,
}

/// Name servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Addresses.
    pub nameservers: Vec<Text>,
    /// Domains that are searched.
    pub search: Vec<Text>,
    /// Options, resolv.conf(5).
    pub options: Vec<Text>,
    /// The file; nothing is `/etc/resolv.conf`.
    pub path: Option<Text>,
}

/// User data of a cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Datasource {
    /// Names of the providers, in order.
    pub providers: Vec<String>,
    /// Folder into which it is written.
    pub path: Option<String>,
    /// Name of the file; nothing is `userdata.yaml`.
    pub userdata_name: Option<String>,
}

/// A git repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Git {
    /// Address.
    pub url: String,
    /// Where it is put.
    pub path: String,
    /// Branch; nothing is `master`.
    pub branch: Option<String>,
    /// Whether only that branch is fetched.
    pub branch_only: bool,
    /// How the machine proves who it is.
    pub auth: GitAuth,
}

/// How a machine proves to a git server who it is. Never shown, but for the user's name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GitAuth {
    /// Name of the user.
    pub username: Option<String>,
    /// Password or token.
    pub password: Option<String>,
    /// Private key for ssh, PEM or OpenSSH's format.
    pub private_key: Option<String>,
    /// The server's public key, as `known_hosts` writes it without the name.
    pub public_key: Option<String>,
    /// Whether the server need not prove who it is.
    pub insecure: bool,
}

/// A container image unpacked into a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnpackImage {
    /// Reference.
    pub source: Text,
    /// Folder.
    pub target: Text,
    /// `OS/ARCH`; nothing is the machine's own.
    pub platform: Option<String>,
}

/// Kernel arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KernelArguments {
    /// To be there.
    pub should_exist: Vec<String>,
    /// To be absent.
    pub should_not_exist: Vec<String>,
}

/// Paths that are writable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// Paths whose changes live on.
    pub persist: Vec<String>,
    /// Paths whose changes are gone with the next boot.
    pub ephemeral: Vec<String>,
    /// Copies of the image's folders are bound over them, instead of an overlay.
    pub bind: bool,
    /// Size of the memory that holds what is gone with the next boot, in per cent or with a unit.
    pub ephemeral_size: Option<String>,
    /// Whether `persist`, also an empty one, takes the place of the default and of earlier lists that did,
    /// instead of being added; what is added stays beside it.
    pub replace_persist: bool,
    /// The same of `ephemeral`.
    pub replace_ephemeral: bool,
}

/// A volume that is mounted at each boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// `LABEL=`, `UUID=`, `PARTLABEL=`, `PARTUUID=` or a path below `/dev`.
    pub device: String,
    /// Where.
    pub path: String,
    /// File system; nothing finds out.
    pub format: Option<String>,
    /// mount(8) options.
    pub options: Vec<String>,
}
