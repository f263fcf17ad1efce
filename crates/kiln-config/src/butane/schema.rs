//! Which keys Butane has, what they are called in Ignition, and since when.
//!
//! One table for all variants: they differ in what they refuse, not in what a key means. Butane
//! writes each key in small letters with underscores where Ignition has capital ones, with
//! exceptions (`size_mib`, `http_proxy`) that no rule gives, so each is written out.

use crate::ignition::Version;

/// A map of Butane's document.
pub(super) struct Schema {
    /// What it describes, for sentences.
    pub(super) what: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
    /// Keys that Ignition does not have.
    pub(super) sugar: Sugar,
}

/// A key.
pub(super) struct Key {
    /// In Butane.
    pub(super) butane: &'static str,
    /// In Ignition.
    pub(super) ignition: &'static str,
    /// What it holds.
    pub(super) shape: Shape,
    /// Ignition's version that brought it.
    pub(super) since: Version,
}

/// What a key holds.
pub(super) enum Shape {
    /// A string, however it is written in YAML.
    Text,
    /// A number or boolean.
    Bare,
    /// A list of strings.
    Texts,
    /// A map.
    Map(&'static Schema),
    /// A list of maps.
    Maps(&'static Schema),
}

/// Keys that are rewritten and not only renamed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sugar {
    None,
    /// `inline`, `local`.
    Resource,
    /// `contents_local`.
    Contents,
    /// `ssh_authorized_keys_local`.
    User,
    /// `with_mount_unit`.
    Filesystem,
    /// `trees`.
    Storage,
}

const fn key(butane: &'static str, ignition: &'static str, shape: Shape, since: Version) -> Key {
    Key { butane, ignition, shape, since }
}

const fn text(butane: &'static str, ignition: &'static str) -> Key {
    key(butane, ignition, Shape::Text, Version::V3_0)
}

const fn bare(butane: &'static str, ignition: &'static str) -> Key {
    key(butane, ignition, Shape::Bare, Version::V3_0)
}

const fn texts(butane: &'static str, ignition: &'static str) -> Key {
    key(butane, ignition, Shape::Texts, Version::V3_0)
}

const fn map(butane: &'static str, ignition: &'static str, schema: &'static Schema) -> Key {
    key(butane, ignition, Shape::Map(schema), Version::V3_0)
}

const fn maps(butane: &'static str, ignition: &'static str, schema: &'static Schema) -> Key {
    key(butane, ignition, Shape::Maps(schema), Version::V3_0)
}

const fn plain(what: &'static str, keys: &'static [Key]) -> Schema {
    Schema { what, keys, sugar: Sugar::None }
}

/// `ignition`.
pub(super) const IGNITION: Schema = plain(
    "`ignition`",
    &[
        map("config", "config", &plain("`config`", CONFIG)),
        key("proxy", "proxy", Shape::Map(&plain("`proxy`", PROXY)), Version::V3_1),
        map("security", "security", &plain("`security`", SECURITY)),
        map("timeouts", "timeouts", &plain("`timeouts`", TIMEOUTS)),
    ],
);

const CONFIG: &[Key] = &[maps("merge", "merge", &REFERENCE), map("replace", "replace", &REFERENCE)];

const PROXY: &[Key] = &[
    text("http_proxy", "httpProxy"),
    text("https_proxy", "httpsProxy"),
    texts("no_proxy", "noProxy"),
];

const SECURITY: &[Key] = &[map("tls", "tls", &plain("`tls`", TLS))];

const TLS: &[Key] = &[maps("certificate_authorities", "certificateAuthorities", &REFERENCE)];

const TIMEOUTS: &[Key] =
    &[bare("http_response_headers", "httpResponseHeaders"), bare("http_total", "httpTotal")];

const VERIFICATION: Schema = plain("`verification`", &[text("hash", "hash")]);

const HEADER: Schema = plain("a header", &[text("name", "name"), text("value", "value")]);

/// A config or certificate that is named.
const REFERENCE: Schema = Schema {
    what: "a resource",
    keys: &[
        text("source", "source"),
        key("compression", "compression", Shape::Text, Version::V3_1),
        key("http_headers", "httpHeaders", Shape::Maps(&HEADER), Version::V3_1),
        map("verification", "verification", &VERIFICATION),
    ],
    sugar: Sugar::Resource,
};

/// Contents of a file.
const CONTENTS: Schema = Schema {
    what: "contents",
    keys: &[
        text("source", "source"),
        text("compression", "compression"),
        key("http_headers", "httpHeaders", Shape::Maps(&HEADER), Version::V3_1),
        map("verification", "verification", &VERIFICATION),
    ],
    sugar: Sugar::Resource,
};

/// `kernel_arguments`.
pub(super) const KERNEL_ARGUMENTS: Schema = plain(
    "`kernel_arguments`",
    &[texts("should_exist", "shouldExist"), texts("should_not_exist", "shouldNotExist")],
);

/// `passwd`.
pub(super) const PASSWD: Schema =
    plain("`passwd`", &[maps("users", "users", &USER), maps("groups", "groups", &GROUP)]);

const USER: Schema = Schema {
    what: "a user",
    keys: &[
        text("name", "name"),
        text("password_hash", "passwordHash"),
        texts("ssh_authorized_keys", "sshAuthorizedKeys"),
        bare("uid", "uid"),
        text("gecos", "gecos"),
        text("home_dir", "homeDir"),
        bare("no_create_home", "noCreateHome"),
        text("primary_group", "primaryGroup"),
        texts("groups", "groups"),
        bare("no_user_group", "noUserGroup"),
        bare("no_log_init", "noLogInit"),
        text("shell", "shell"),
        key("should_exist", "shouldExist", Shape::Bare, Version::V3_2),
        bare("system", "system"),
    ],
    sugar: Sugar::User,
};

const GROUP: Schema = plain(
    "a group",
    &[
        text("name", "name"),
        bare("gid", "gid"),
        text("password_hash", "passwordHash"),
        key("should_exist", "shouldExist", Shape::Bare, Version::V3_2),
        bare("system", "system"),
    ],
);

/// `storage`.
pub(super) const STORAGE: Schema = Schema {
    what: "`storage`",
    keys: &[
        maps("disks", "disks", &DISK),
        maps("raid", "raid", &RAID),
        key("luks", "luks", Shape::Maps(&LUKS), Version::V3_2),
        maps("filesystems", "filesystems", &FILESYSTEM),
        maps("files", "files", &FILE),
        maps("directories", "directories", &DIRECTORY),
        maps("links", "links", &LINK),
    ],
    sugar: Sugar::Storage,
};

const DISK: Schema = plain(
    "a disk",
    &[
        text("device", "device"),
        bare("wipe_table", "wipeTable"),
        maps("partitions", "partitions", &PARTITION),
    ],
);

const PARTITION: Schema = plain(
    "a partition",
    &[
        text("label", "label"),
        bare("number", "number"),
        bare("size_mib", "sizeMiB"),
        bare("start_mib", "startMiB"),
        text("type_guid", "typeGuid"),
        text("guid", "guid"),
        bare("wipe_partition_entry", "wipePartitionEntry"),
        bare("should_exist", "shouldExist"),
        key("resize", "resize", Shape::Bare, Version::V3_2),
    ],
);

const RAID: Schema = plain(
    "a RAID array",
    &[
        text("name", "name"),
        text("level", "level"),
        texts("devices", "devices"),
        bare("spares", "spares"),
        texts("options", "options"),
    ],
);

const LUKS: Schema = plain(
    "a LUKS volume",
    &[
        text("name", "name"),
        text("device", "device"),
        map("key_file", "keyFile", &CONTENTS),
        text("label", "label"),
        text("uuid", "uuid"),
        texts("options", "options"),
        key("discard", "discard", Shape::Bare, Version::V3_4),
        key("open_options", "openOptions", Shape::Texts, Version::V3_4),
        bare("wipe_volume", "wipeVolume"),
        map("clevis", "clevis", &CLEVIS),
        key("cex", "cex", Shape::Map(&CEX), Version::V3_5),
    ],
);

const CEX: Schema = plain("`cex`", &[bare("enabled", "enabled")]);

const CLEVIS: Schema = plain(
    "`clevis`",
    &[
        maps("tang", "tang", &TANG),
        bare("tpm2", "tpm2"),
        bare("threshold", "threshold"),
        map("custom", "custom", &CUSTOM),
    ],
);

const TANG: Schema = plain(
    "a tang server",
    &[
        text("url", "url"),
        text("thumbprint", "thumbprint"),
        key("advertisement", "advertisement", Shape::Text, Version::V3_4),
    ],
);

const CUSTOM: Schema = plain(
    "`custom`",
    &[text("pin", "pin"), text("config", "config"), bare("needs_network", "needsNetwork")],
);

const FILESYSTEM: Schema = Schema {
    what: "a file system",
    keys: &[
        text("device", "device"),
        text("format", "format"),
        text("path", "path"),
        text("label", "label"),
        text("uuid", "uuid"),
        texts("options", "options"),
        // Butane had it from the start, for the mount units that it writes.
        key("mount_options", "mountOptions", Shape::Texts, Version::V3_1),
        bare("wipe_filesystem", "wipeFilesystem"),
    ],
    sugar: Sugar::Filesystem,
};

const OWNER: Schema = plain("an owner", &[bare("id", "id"), text("name", "name")]);

const FILE: Schema = plain(
    "a file",
    &[
        text("path", "path"),
        bare("overwrite", "overwrite"),
        bare("mode", "mode"),
        map("user", "user", &OWNER),
        map("group", "group", &OWNER),
        map("contents", "contents", &CONTENTS),
        maps("append", "append", &CONTENTS),
    ],
);

const DIRECTORY: Schema = plain(
    "a directory",
    &[
        text("path", "path"),
        bare("overwrite", "overwrite"),
        bare("mode", "mode"),
        map("user", "user", &OWNER),
        map("group", "group", &OWNER),
    ],
);

const LINK: Schema = plain(
    "a link",
    &[
        text("path", "path"),
        bare("overwrite", "overwrite"),
        map("user", "user", &OWNER),
        map("group", "group", &OWNER),
        text("target", "target"),
        bare("hard", "hard"),
    ],
);

/// `systemd`.
pub(super) const SYSTEMD: Schema = plain("`systemd`", &[maps("units", "units", &UNIT)]);

const UNIT: Schema = Schema {
    what: "a unit",
    keys: &[
        text("name", "name"),
        bare("enabled", "enabled"),
        bare("mask", "mask"),
        text("contents", "contents"),
        maps("dropins", "dropins", &DROPIN),
    ],
    sugar: Sugar::Contents,
};

const DROPIN: Schema = Schema {
    what: "a drop-in",
    keys: &[text("name", "name"), text("contents", "contents")],
    sugar: Sugar::Contents,
};

#[cfg(test)]
mod tests {
    use super::{IGNITION, KERNEL_ARGUMENTS, PASSWD, STORAGE, SYSTEMD, Schema, Shape};

    /// Every key of the table is known to Ignition's reader under the name that the table gives it.
    #[test]
    fn each_name_is_one_of_ignition() {
        fn walk(schema: &Schema, names: &mut Vec<(&'static str, &'static str)>) {
            for key in schema.keys {
                names.push((key.butane, key.ignition));
                match key.shape {
                    Shape::Map(inner) | Shape::Maps(inner) => walk(inner, names),
                    Shape::Text | Shape::Bare | Shape::Texts => {}
                }
            }
        }
        let mut names = Vec::new();
        for schema in [&IGNITION, &KERNEL_ARGUMENTS, &PASSWD, &STORAGE, &SYSTEMD] {
            walk(schema, &mut names);
        }
        for (butane, ignition) in &names {
            let plain = butane.replace('_', "");
            assert_eq!(plain, ignition.to_lowercase(), "{butane}");
        }
        assert!(names.len() > 110, "{}", names.len());
    }
}
