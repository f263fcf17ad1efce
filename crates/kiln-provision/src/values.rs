//! What templates are filled with: the machine as the kernel and its image describe it.
//!
//! The names are those of Elemental's documents (`.Values.node.hostname`, `.Values.memory.size`). What a
//! machine does not have is an empty text and not missing, so that a template does not fail on one
//! machine of a hundred. Serial numbers are the machine's and no secret to its own documents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln_config::template::{Value, Values};
use sha2::{Digest, Sha256};

use crate::conditions::{SETTINGS_BYTES, architecture, os_release, variable};
use crate::contents::hexadecimal;
use crate::{Error, Root};

/// Largest file of the kernel that is read, in bytes.
const KERNEL_BYTES: u64 = 1 << 20;
/// Most disks and network cards that are listed.
const DEVICES: usize = 1000;
/// Bytes of a sector in sysfs, whatever the disk's own are.
const SECTOR_BYTES: u64 = 512;

/// Where the machine is described.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `/proc`.
    pub kernel: PathBuf,
    /// `/sys`.
    pub devices: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self { kernel: "/proc".into(), devices: "/sys".into() }
    }
}

/// All values: facts under `.Values`, and `.MachineID`, `.UUID`, `.Random`, `.ProtectedID`.
///
/// # Errors
/// A file of the root cannot be read.
pub fn values(root: &Root, machine: &Machine, random: [u8; 16]) -> Result<Values, Error> {
    let id = root.text("/etc/machine-id", SETTINGS_BYTES)?.unwrap_or_default();
    let id = id.trim();
    let firmware_id = machine.device("class/dmi/id/product_uuid");
    let random = hexadecimal(&random);
    // Derived, so that it can be shown where the identity itself must not be (machine-id(5)).
    let digest = Sha256::digest([b"kiln protected id\0", id.as_bytes()].concat());
    let protected: String = hexadecimal(&digest).chars().take(32).collect();
    let mut facts = machine.facts(root)?;
    for (name, value) in [("Random", &random), ("ProtectedID", &protected)] {
        facts.insert(name.into(), value.as_str().into());
    }
    let mut values = Values::facts(Value::Map(facts));
    values.insert("MachineID", id);
    values.insert("UUID", firmware_id);
    values.insert("Random", random);
    values.insert("ProtectedID", protected);
    Ok(values)
}

impl Machine {
    fn facts(&self, root: &Root) -> Result<BTreeMap<String, Value>, Error> {
        let release = os_release(root)?;
        let of = |name: &str| Value::from(variable(&release, name).unwrap_or_default());
        let kernel = |name: &str| Value::from(self.process(&format!("sys/kernel/{name}")));
        let id = root.text("/etc/machine-id", SETTINGS_BYTES)?.unwrap_or_default();
        let architecture = || Value::from(architecture());
        Ok(BTreeMap::from([
            (
                "node".into(),
                map([("hostname", kernel("hostname")), ("machineid", id.trim().into())]),
            ),
            (
                "os".into(),
                map([
                    ("name", of("PRETTY_NAME")),
                    ("vendor", of("ID")),
                    ("version", of("VERSION_ID")),
                    ("release", of("VERSION")),
                    ("architecture", architecture()),
                ]),
            ),
            (
                "kernel".into(),
                map([
                    ("release", kernel("osrelease")),
                    ("version", kernel("version")),
                    ("architecture", std::env::consts::ARCH.into()),
                ]),
            ),
            ("product".into(), self.firmware("product", &["name", "version", "serial", "uuid"])),
            ("board".into(), self.firmware("board", &["name", "version", "serial", "asset_tag"])),
            (
                "chassis".into(),
                self.firmware("chassis", &["type", "version", "serial", "asset_tag"]),
            ),
            ("bios".into(), self.firmware("bios", &["version", "date"])),
            ("cpu".into(), cpu(&self.process("cpuinfo"))),
            ("memory".into(), map([("size", memory(&self.process("meminfo")).into())])),
            ("storage".into(), self.storage()),
            ("network".into(), self.network()),
        ]))
    }

    fn process(&self, name: &str) -> String {
        small(&self.kernel.join(name))
    }

    fn device(&self, name: &str) -> String {
        small(&self.devices.join(name))
    }

    /// What SMBIOS says of a part, with the maker under `vendor`.
    fn firmware(&self, part: &str, names: &[&str]) -> Value {
        let read = |name: &str| Value::from(self.device(&format!("class/dmi/id/{part}_{name}")));
        let vendor = if part == "product" {
            Value::from(self.device("class/dmi/id/sys_vendor"))
        } else {
            read("vendor")
        };
        let fields = names.iter().map(|name| (name.replace('_', ""), read(name)));
        Value::Map(fields.chain([("vendor".to_owned(), vendor)]).collect())
    }

    fn storage(&self) -> Value {
        let disks = self.names("block").into_iter().filter(|name| {
            let is_made_up = ["loop", "ram", "zram", "dm-", "md"];
            !is_made_up.iter().any(|prefix| name.starts_with(prefix))
        });
        let disk = |name: String| {
            let of = |field: &str| Value::from(self.device(&format!("block/{name}/{field}")));
            let sectors = self.device(&format!("block/{name}/size")).parse().unwrap_or(0_u64);
            // In GB, as Elemental's templates expect.
            let size = sectors.saturating_mul(SECTOR_BYTES) / 1_000_000_000;
            map([
                ("name", name.as_str().into()),
                ("vendor", of("device/vendor")),
                ("model", of("device/model")),
                ("serial", of("device/serial")),
                ("size", i64::try_from(size).unwrap_or(i64::MAX).into()),
            ])
        };
        Value::List(disks.map(disk).collect())
    }

    fn network(&self) -> Value {
        let cards = self
            .names("class/net")
            .into_iter()
            .filter(|name| self.devices.join("class/net").join(name).join("device").exists());
        let card = |name: String| {
            let of = |field: &str| self.device(&format!("class/net/{name}/{field}"));
            map([
                ("name", name.as_str().into()),
                ("macaddress", of("address").into()),
                ("speed", of("speed").parse::<i64>().unwrap_or(0).max(0).into()),
            ])
        };
        Value::List(cards.map(card).collect())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.devices.join(folder)) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .take(DEVICES)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// A file of the kernel, or nothing: one that is missing or secret is a field without a value.
fn small(path: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(KERNEL_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(_) => String::new(),
    }
}

fn map<const COUNT: usize>(fields: [(&str, Value); COUNT]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// `/proc/cpuinfo`.
fn cpu(text: &str) -> Value {
    let field = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next().map(str::trim) == Some(name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let threads = text.lines().filter(|line| line.starts_with("processor")).count();
    let number = |text: &str| text.parse::<i64>().unwrap_or(0);
    map([
        ("vendor", field("vendor_id").into()),
        ("model", field("model name").into()),
        ("cores", number(field("cpu cores")).into()),
        ("threads", i64::try_from(threads).unwrap_or(0).into()),
    ])
}

/// Memory in MiB, of `/proc/meminfo`.
fn memory(text: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    kibibytes.unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_config::template::render;

    #[test]
    fn templates_see_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("root/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        write("root/usr/lib/os-release", "ID=some\nVERSION_ID=\"7\"\nPRETTY_NAME=\"Some 7\"\n");
        write("proc/sys/kernel/hostname", "node-1\n");
        write("proc/sys/kernel/osrelease", "6.1\n");
        write(
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: Fast\nprocessor\t: 1\ncpu cores : 2\n",
        );
        write("proc/meminfo", "MemTotal:        2048000 kB\n");
        write("sys/class/dmi/id/sys_vendor", "ACME\n");
        write("sys/class/dmi/id/product_serial", "S-1\n");
        write("sys/class/dmi/id/product_uuid", "u-u\n");
        write("sys/block/sda/size", "20000000\n");
        write("sys/block/loop0/size", "1\n");
        write("sys/class/net/eth0/address", "02:00:00:00:00:01\n");
        write("sys/class/net/eth0/device/x", "");
        write("sys/class/net/lo/address", "00\n");
        let root = Root::open(&folder.path().join("root")).unwrap();
        let machine =
            Machine { kernel: folder.path().join("proc"), devices: folder.path().join("sys") };
        let values = values(&root, &machine, [0xab; 16]).unwrap();
        for (text, expected) in [
            ("{{.Values.node.hostname}}", "node-1"),
            ("{{.MachineID}}", "0123456789abcdef0123456789abcdef"),
            ("{{.Values.node.machineid}}", "0123456789abcdef0123456789abcdef"),
            ("{{.Values.os.vendor}} {{.Values.os.version}} {{.Values.os.name}}", "some 7 Some 7"),
            ("{{.Values.kernel.release}}", "6.1"),
            ("{{.Values.product.vendor}} {{.Values.product.serial}} {{.UUID}}", "ACME S-1 u-u"),
            ("{{.Values.cpu.model}} {{.Values.cpu.threads}} {{.Values.cpu.cores}}", "Fast 2 2"),
            ("{{.Values.memory.size}}", "2000"),
            ("{{range .Values.storage}}{{.name}}={{.size}} {{end}}", "sda=10 "),
            ("{{range .Values.network}}{{.name}} {{.macaddress}}{{end}}", "eth0 02:00:00:00:00:01"),
            ("{{.Random}}", "abababababababababababababababab"),
            ("{{.Values.Random}}", "abababababababababababababababab"),
        ] {
            assert_eq!(render(text, &values).unwrap(), expected, "{text}");
        }
        let protected = render("{{.ProtectedID}}", &values).unwrap();
        assert_eq!((protected.len(), protected.contains("0123456789abcdef")), (32, false));
    }
}
