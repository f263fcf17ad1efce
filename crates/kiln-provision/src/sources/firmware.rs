//! Documents that a hypervisor or the firmware hands over: fw_cfg, OEM strings, credentials.
//!
//! Both come as files of sysfs, in formats that are bounded and simple, so they are read without any other
//! program. The names of the systems that Kiln replaces are known beside its own. `/run/credentials` is not
//! read: systemd, which fills it, has not started when documents are looked for, so what it would put there
//! is taken from where it would take it.

use kiln_config::ignition::data;

use super::{Document, Place};
use crate::{Error, Root};

/// Items of QEMU's fw_cfg (docs/specs/fw_cfg in QEMU) that hold a document; the last one is a credential
/// (systemd.system-credentials(7)).
const ITEMS: [(&str, Place); 3] = [
    ("opt/kiln/config", Place::Hypervisor),
    ("opt/com.coreos/config", Place::Hypervisor),
    ("opt/io.systemd.credentials/kiln.config", Place::Credentials),
];
/// Where the kernel shows them (Documentation/ABI/testing/sysfs-firmware-qemu_fw_cfg).
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name";
/// All SMBIOS structures (Documentation/ABI/testing/sysfs-firmware-dmi-tables); `dmi/entries` beside it
/// needs a module that few kernels have built in.
const TABLE: &str = "/sys/firmware/dmi/tables/DMI";
/// SMBIOS structure types 11, OEM strings, and 127, end of table (DSP0134, sections 7.12 and 7.45).
const OEM_STRINGS: u8 = 11;
const END_OF_TABLE: u8 = 127;
/// Bytes of a structure's header: type, length, handle (DSP0134, section 6.1.2).
const HEADER: usize = 4;
/// Beginnings of OEM strings that hold a document, in plain text or in base64, and what they are.
const STRINGS: [(&str, bool, Place); 4] = [
    ("io.systemd.credential:kiln.config=", false, Place::Credentials),
    ("io.systemd.credential.binary:kiln.config=", true, Place::Credentials),
    ("kiln.config=", false, Place::Smbios),
    ("ignition.config=", false, Place::Smbios),
];
/// Bytes of all SMBIOS structures that are looked at: what a 32-bit entry point can hold is far less
/// (DSP0134, section 5.2.1), and hypervisors have been seen to need more with 64 bits.
const MAXIMUM_TABLE: u64 = 20 << 20;

/// Documents of one place in fw_cfg. `root` is the root in which `/sys` is mounted.
pub(super) fn hypervisor(root: &Root, place: Place) -> Result<Vec<Document>, Error> {
    let mut documents = Vec::new();
    for (item, of) in ITEMS {
        if of != place {
            continue;
        }
        let path = format!("{FW_CFG}/{item}/raw");
        if let Some(bytes) = root.read(&path, kiln_config::source::MAXIMUM_BYTES as u64)? {
            documents.push(Document { name: format!("fw_cfg:{item}"), bytes, place });
        }
    }
    Ok(documents)
}

/// Documents of one place in OEM strings of SMBIOS.
pub(super) fn smbios(root: &Root, place: Place) -> Result<Vec<Document>, Error> {
    let Some(table) = root.read(TABLE, MAXIMUM_TABLE)? else { return Ok(Vec::new()) };
    let mut documents = Vec::new();
    for (number, string) in oem_strings(&table).into_iter().enumerate() {
        let found = STRINGS.into_iter().find(|(start, ..)| string.starts_with(start.as_bytes()));
        let Some((start, encoded, of)) = found else { continue };
        if of != place {
            continue;
        }
        let name = format!("SMBIOS, OEM string {}", number + 1);
        let value = string.get(start.len()..).unwrap_or_default();
        let bytes = if encoded { base64(value, &name)? } else { value.to_vec() };
        documents.push(Document { name, bytes, place });
    }
    Ok(documents)
}

fn base64(value: &[u8], name: &str) -> Result<Vec<u8>, Error> {
    let url = format!("data:;base64,{}", String::from_utf8_lossy(value));
    let refused = |_| Error::Contents { origin: name.to_owned(), reason: "no base64".into() };
    data::decode(&url).map_err(refused)
}

/// All OEM strings of a table. What is cut off or makes no sense ends the walk.
pub(super) fn oem_strings(table: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = table;
    while let [kind, length, ..] = *rest {
        let length = usize::from(length);
        let Some(behind) = rest.get(length..).filter(|_| length >= HEADER) else { break };
        if kind == END_OF_TABLE {
            break;
        }
        let (strings, next) = strings(behind);
        if kind == OEM_STRINGS {
            found.extend(strings);
        }
        rest = next;
    }
    found
}

/// The strings behind a structure, and what follows them: each ends with a zero byte, and another one ends
/// the set; without strings there are two (DSP0134, section 6.1.3).
fn strings(mut bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut found = Vec::new();
    loop {
        let Some(end) = bytes.iter().position(|&byte| byte == 0) else { return (found, &[]) };
        let (string, behind) = bytes.split_at(end);
        bytes = behind.get(1..).unwrap_or_default();
        if string.is_empty() {
            let after = if found.is_empty() { bytes.get(1..).unwrap_or_default() } else { bytes };
            return (found, after);
        }
        found.push(string);
    }
}

#[cfg(test)]
mod tests {
    use super::{Document, hypervisor, oem_strings, smbios};
    use crate::Root;
    use crate::sources::Place;

    fn structure(kind: u8, data: &[u8], strings: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![kind, u8::try_from(data.len() + 4).unwrap(), 0, 0];
        bytes.extend(data);
        for string in strings {
            bytes.extend(*string);
            bytes.push(0);
        }
        bytes.extend(if strings.is_empty() { &b"\0\0"[..] } else { b"\0" });
        bytes
    }

    #[test]
    fn strings_of_smbios_and_items_of_the_hypervisor_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let oem: [&[u8]; 4] = [
            b"vendor=x",
            b"kiln.config=kind: Provision",
            b"io.systemd.credential.binary:kiln.config=YTogMQ==",
            b"io.systemd.credential:kiln.config=b: 2",
        ];
        let table = [
            structure(1, &[0; 20], &[b"kiln.config=no"]),
            structure(0, &[], &[]),
            structure(11, &[4], &oem),
            structure(127, &[], &[]),
            structure(11, &[1], &[b"kiln.config=behind the end"]),
        ];
        write("sys/firmware/dmi/tables/DMI", &table.concat());
        write("sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw", b"{}");
        let item = "opt/io.systemd.credentials/kiln.config";
        write(&format!("sys/firmware/qemu_fw_cfg/by_name/{item}/raw"), b"c: 3");
        let root = Root::open(folder.path()).unwrap();
        let show = |all: Vec<Document>| {
            let text = |bytes| String::from_utf8(bytes).unwrap();
            all.into_iter().map(|one| (one.name, text(one.bytes))).collect::<Vec<_>>()
        };
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(
            show(smbios(&root, Place::Smbios).unwrap()),
            [pair("SMBIOS, OEM string 2", "kind: Provision")]
        );
        assert_eq!(
            show(smbios(&root, Place::Credentials).unwrap()),
            [pair("SMBIOS, OEM string 3", "a: 1"), pair("SMBIOS, OEM string 4", "b: 2")]
        );
        assert_eq!(
            show(hypervisor(&root, Place::Hypervisor).unwrap()),
            [pair("fw_cfg:opt/com.coreos/config", "{}")]
        );
        assert_eq!(
            show(hypervisor(&root, Place::Credentials).unwrap()),
            [pair(&format!("fw_cfg:{item}"), "c: 3")]
        );
    }

    #[test]
    fn a_damaged_table_ends_the_walk() {
        let good = structure(11, &[1], &[b"a"]);
        for (table, expected) in [
            (vec![], 0),
            (vec![11], 0),
            (vec![11, 0, 0, 0, b'a', 0, 0], 0),
            (vec![11, 200, 0, 0, b'a', 0, 0], 0),
            ([&good[..], &[11, 3, 0]].concat(), 1),
            (good[..good.len() - 2].to_vec(), 0),
        ] {
            assert_eq!(oem_strings(&table).len(), expected, "{table:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_table_panics_and_what_is_found_lies_in_it(bytes: Vec<u8>, strings: Vec<Vec<u8>>) {
            let sound = structure(11, &[1], &[b"kiln.config=a"]);
            let table = [&sound[..], &bytes, &strings.concat()].concat();
            let found = oem_strings(&table);
            proptest::prop_assert_eq!(found.first(), Some(&&b"kiln.config=a"[..]));
            let all: usize = found.iter().map(|string| string.len() + 1).sum();
            proptest::prop_assert!(all <= table.len());
        }
    }
}
