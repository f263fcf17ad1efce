//! Every key of the spec: which version brought it, and what becomes of it.
//!
//! For counts and for the guide; the reader knows the keys by itself, and a test holds the two together
//! in both directions.

use super::config::Version;
use super::lower::{NO_CEX, NO_CLEVIS};

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has its effect.
    CarriedOut,
    /// A config that uses it is refused, for this reason.
    Refused(&'static str),
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Keys from the root on, `[]` for the members of a list.
    pub path: &'static str,
    /// The first version that has it.
    pub since: Version,
    /// What becomes of it.
    pub state: State,
}

const fn carried(path: &'static str, since: Version) -> Key {
    Key { path, since, state: State::CarriedOut }
}

const fn refused(path: &'static str, since: Version, reason: &'static str) -> Key {
    Key { path, since, state: State::Refused(reason) }
}

/// All keys that hold a value, in the order of the spec's sections.
pub const KEYS: &[Key] = &[
    carried("ignition.version", Version::V3_0),
    carried("ignition.config.merge[].source", Version::V3_0),
    carried("ignition.config.merge[].compression", Version::V3_1),
    carried("ignition.config.merge[].httpHeaders[].name", Version::V3_1),
    carried("ignition.config.merge[].httpHeaders[].value", Version::V3_1),
    carried("ignition.config.merge[].verification.hash", Version::V3_0),
    carried("ignition.config.replace.source", Version::V3_0),
    carried("ignition.config.replace.compression", Version::V3_1),
    carried("ignition.config.replace.httpHeaders[].name", Version::V3_1),
    carried("ignition.config.replace.httpHeaders[].value", Version::V3_1),
    carried("ignition.config.replace.verification.hash", Version::V3_0),
    carried("ignition.timeouts.httpResponseHeaders", Version::V3_0),
    carried("ignition.timeouts.httpTotal", Version::V3_0),
    carried("ignition.security.tls.certificateAuthorities[].source", Version::V3_0),
    carried("ignition.security.tls.certificateAuthorities[].compression", Version::V3_1),
    carried("ignition.security.tls.certificateAuthorities[].httpHeaders[].name", Version::V3_1),
    carried("ignition.security.tls.certificateAuthorities[].httpHeaders[].value", Version::V3_1),
    carried("ignition.security.tls.certificateAuthorities[].verification.hash", Version::V3_0),
    carried("ignition.proxy.httpProxy", Version::V3_1),
    carried("ignition.proxy.httpsProxy", Version::V3_1),
    carried("ignition.proxy.noProxy[]", Version::V3_1),
    carried("kernelArguments.shouldExist[]", Version::V3_3),
    carried("kernelArguments.shouldNotExist[]", Version::V3_3),
    carried("passwd.users[].name", Version::V3_0),
    carried("passwd.users[].passwordHash", Version::V3_0),
    carried("passwd.users[].sshAuthorizedKeys[]", Version::V3_0),
    carried("passwd.users[].uid", Version::V3_0),
    carried("passwd.users[].gecos", Version::V3_0),
    carried("passwd.users[].homeDir", Version::V3_0),
    carried("passwd.users[].noCreateHome", Version::V3_0),
    carried("passwd.users[].primaryGroup", Version::V3_0),
    carried("passwd.users[].groups[]", Version::V3_0),
    carried("passwd.users[].noUserGroup", Version::V3_0),
    carried("passwd.users[].noLogInit", Version::V3_0),
    carried("passwd.users[].shell", Version::V3_0),
    carried("passwd.users[].shouldExist", Version::V3_2),
    carried("passwd.users[].system", Version::V3_0),
    carried("passwd.groups[].name", Version::V3_0),
    carried("passwd.groups[].gid", Version::V3_0),
    carried("passwd.groups[].passwordHash", Version::V3_0),
    carried("passwd.groups[].shouldExist", Version::V3_2),
    carried("passwd.groups[].system", Version::V3_0),
    carried("storage.disks[].device", Version::V3_0),
    carried("storage.disks[].wipeTable", Version::V3_0),
    carried("storage.disks[].partitions[].number", Version::V3_0),
    carried("storage.disks[].partitions[].label", Version::V3_0),
    carried("storage.disks[].partitions[].startMiB", Version::V3_0),
    carried("storage.disks[].partitions[].sizeMiB", Version::V3_0),
    carried("storage.disks[].partitions[].guid", Version::V3_0),
    carried("storage.disks[].partitions[].typeGuid", Version::V3_0),
    carried("storage.disks[].partitions[].shouldExist", Version::V3_0),
    carried("storage.disks[].partitions[].wipePartitionEntry", Version::V3_0),
    carried("storage.disks[].partitions[].resize", Version::V3_2),
    carried("storage.raid[].name", Version::V3_0),
    carried("storage.raid[].level", Version::V3_0),
    carried("storage.raid[].devices[]", Version::V3_0),
    carried("storage.raid[].spares", Version::V3_0),
    carried("storage.raid[].options[]", Version::V3_0),
    carried("storage.luks[].name", Version::V3_2),
    carried("storage.luks[].device", Version::V3_2),
    carried("storage.luks[].keyFile.source", Version::V3_2),
    carried("storage.luks[].keyFile.compression", Version::V3_2),
    carried("storage.luks[].keyFile.httpHeaders[].name", Version::V3_2),
    carried("storage.luks[].keyFile.httpHeaders[].value", Version::V3_2),
    carried("storage.luks[].keyFile.verification.hash", Version::V3_2),
    carried("storage.luks[].label", Version::V3_2),
    carried("storage.luks[].uuid", Version::V3_2),
    carried("storage.luks[].options[]", Version::V3_2),
    carried("storage.luks[].discard", Version::V3_4),
    carried("storage.luks[].openOptions[]", Version::V3_4),
    carried("storage.luks[].wipeVolume", Version::V3_2),
    refused("storage.luks[].clevis.tang[].url", Version::V3_2, NO_CLEVIS),
    refused("storage.luks[].clevis.tang[].thumbprint", Version::V3_2, NO_CLEVIS),
    refused("storage.luks[].clevis.tang[].advertisement", Version::V3_4, NO_CLEVIS),
    refused("storage.luks[].clevis.tpm2", Version::V3_2, NO_CLEVIS),
    refused("storage.luks[].clevis.threshold", Version::V3_2, NO_CLEVIS),
    refused("storage.luks[].clevis.custom.pin", Version::V3_2, NO_CLEVIS),
    refused("storage.luks[].clevis.custom.config", Version::V3_2, NO_CLEVIS),
    refused("storage.luks[].clevis.custom.needsNetwork", Version::V3_2, NO_CLEVIS),
    refused("storage.luks[].cex.enabled", Version::V3_5, NO_CEX),
    carried("storage.filesystems[].device", Version::V3_0),
    carried("storage.filesystems[].format", Version::V3_0),
    carried("storage.filesystems[].path", Version::V3_0),
    carried("storage.filesystems[].label", Version::V3_0),
    carried("storage.filesystems[].uuid", Version::V3_0),
    carried("storage.filesystems[].options[]", Version::V3_0),
    carried("storage.filesystems[].mountOptions[]", Version::V3_1),
    carried("storage.filesystems[].wipeFilesystem", Version::V3_0),
    carried("storage.files[].path", Version::V3_0),
    carried("storage.files[].overwrite", Version::V3_0),
    carried("storage.files[].user.id", Version::V3_0),
    carried("storage.files[].user.name", Version::V3_0),
    carried("storage.files[].group.id", Version::V3_0),
    carried("storage.files[].group.name", Version::V3_0),
    carried("storage.files[].mode", Version::V3_0),
    carried("storage.files[].contents.source", Version::V3_0),
    carried("storage.files[].contents.compression", Version::V3_0),
    carried("storage.files[].contents.httpHeaders[].name", Version::V3_1),
    carried("storage.files[].contents.httpHeaders[].value", Version::V3_1),
    carried("storage.files[].contents.verification.hash", Version::V3_0),
    carried("storage.files[].append[].source", Version::V3_0),
    carried("storage.files[].append[].compression", Version::V3_0),
    carried("storage.files[].append[].httpHeaders[].name", Version::V3_1),
    carried("storage.files[].append[].httpHeaders[].value", Version::V3_1),
    carried("storage.files[].append[].verification.hash", Version::V3_0),
    carried("storage.directories[].path", Version::V3_0),
    carried("storage.directories[].overwrite", Version::V3_0),
    carried("storage.directories[].user.id", Version::V3_0),
    carried("storage.directories[].user.name", Version::V3_0),
    carried("storage.directories[].group.id", Version::V3_0),
    carried("storage.directories[].group.name", Version::V3_0),
    carried("storage.directories[].mode", Version::V3_0),
    carried("storage.links[].path", Version::V3_0),
    carried("storage.links[].overwrite", Version::V3_0),
    carried("storage.links[].user.id", Version::V3_0),
    carried("storage.links[].user.name", Version::V3_0),
    carried("storage.links[].group.id", Version::V3_0),
    carried("storage.links[].group.name", Version::V3_0),
    carried("storage.links[].target", Version::V3_0),
    carried("storage.links[].hard", Version::V3_0),
    carried("systemd.units[].name", Version::V3_0),
    carried("systemd.units[].enabled", Version::V3_0),
    carried("systemd.units[].mask", Version::V3_0),
    carried("systemd.units[].contents", Version::V3_0),
    carried("systemd.units[].dropins[].name", Version::V3_0),
    carried("systemd.units[].dropins[].contents", Version::V3_0),
];
