//! Fixtures of this crate's tests: a tree that is filled by path, and the smallest files that pass
//! for a stub, a kernel and a module. Made here byte by byte, so that no test depends on what is
//! installed where it runs.

#![expect(clippy::unwrap_used, reason = "fixtures of tests; what fails here fails the test")]

use std::io::Write;

use kiln_tree::{ContentStore, Kind, MemoryStore, Metadata, Node, Tree};
use sha2::{Digest, Sha256};

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image in memory.
#[derive(Default)]
pub(crate) struct Image {
    pub(crate) tree: Tree,
    pub(crate) store: MemoryStore,
}

impl Image {
    fn insert(&mut self, path: &str, node: Node) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.tree.ensure_directory(parent.as_bytes(), &Metadata::directory()).unwrap();
        }
        self.tree.insert(path.as_bytes(), node).unwrap();
    }

    pub(crate) fn bytes(&mut self, path: &str, bytes: &[u8]) {
        let content = self.store.store(bytes.len() as u64, &mut &bytes[..]).unwrap();
        self.insert(path, Node { kind: Kind::File(content), metadata: Metadata::file() });
    }

    pub(crate) fn text(&mut self, path: &str, text: &str) {
        self.bytes(path, text.as_bytes());
    }

    pub(crate) fn gzip(&mut self, path: &str, bytes: &[u8]) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        self.bytes(path, &encoder.finish().unwrap());
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        let kind = Kind::Symlink(target.as_bytes().to_vec());
        self.insert(path, Node { kind, metadata: Metadata::symlink() });
    }
}

/// A PE32+ EFI application with the given sections behind 0x400 bytes of headers, one per page.
fn program(machine: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &machine.to_le_bytes());
    put(0x46, &u16::try_from(sections.len()).unwrap().to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    let optional = 0x58;
    put(optional, &0x20b_u16.to_le_bytes());
    put(optional + 32, &4096_u32.to_le_bytes());
    put(optional + 36, &512_u32.to_le_bytes());
    let pages = u32::try_from(sections.len()).unwrap() + 1;
    put(optional + 56, &(pages * 4096).to_le_bytes());
    put(optional + 60, &0x400_u32.to_le_bytes());
    put(optional + 68, &10_u16.to_le_bytes());
    put(optional + 108, &16_u32.to_le_bytes());
    for (index, (name, data)) in (0_u32..).zip(sections) {
        let at = optional + 240 + 40 * usize::try_from(index).unwrap();
        put(at, name.as_bytes());
        put(at + 8, &u32::try_from(data.len()).unwrap().to_le_bytes());
        put(at + 12, &((index + 1) * 4096).to_le_bytes());
        put(at + 16, &512_u32.to_le_bytes());
        put(at + 20, &(0x400 + index * 512).to_le_bytes());
    }
    for (_, data) in sections {
        file.extend_from_slice(data);
        file.resize(file.len().next_multiple_of(512), 0);
    }
    file
}

/// A systemd stub for a machine number.
pub(crate) fn stub_file(machine: u16) -> Vec<u8> {
    program(machine, &[(".text", b"code"), (".sbat", b"sbat,1,test")])
}

/// An x86-64 kernel that carries its release as a bzImage does.
pub(crate) fn kernel_file(release: &str) -> Vec<u8> {
    let mut file = program(0x8664, &[(".text", b"kernel")]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let text = format!("{release} (builder) #1\0");
    file[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
    file
}

/// A 64-bit ELF file with a `.modinfo` section of these records.
pub(crate) fn module_file(records: &[&str]) -> Vec<u8> {
    let names = b"\0.modinfo\0";
    let information: Vec<u8> =
        records.iter().flat_map(|record| record.bytes().chain([0])).collect();
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let names_at = file.len() as u64;
    file.extend_from_slice(names);
    let information_at = file.len() as u64;
    file.extend_from_slice(&information);
    let table = file.len() as u64;
    file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    file[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
    file[0x3c..0x3e].copy_from_slice(&2_u16.to_le_bytes());
    let spans = [(0_u32, names_at, names.len()), (1, information_at, information.len())];
    for (name, at, size) in spans {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&at.to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
        file.extend_from_slice(&header);
    }
    file
}

/// One element of DER (X.690, section 8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let mut bytes = vec![tag];
    match content.len() {
        0..=0x7f => bytes.push(length[7]),
        _ => bytes.extend([&[0x82], &length[6..]].concat()),
    }
    [bytes, content.to_vec()].concat()
}

fn name(of: &str) -> Vec<u8> {
    der(0x30, &der(0x0c, of.as_bytes()))
}

/// What passes for an X.509 certificate (RFC 5280, section 4.1), as far as its issuer and subject.
pub(crate) fn certificate(subject: &str, issuer: &str) -> Vec<u8> {
    let body = [
        der(0xa0, &der(2, &[2])),
        der(2, &[7]),
        der(0x30, b""),
        name(issuer),
        der(0x30, b"dates"),
        name(subject),
    ];
    der(0x30, &der(0x30, &body.concat()))
}

/// Adds a signature with these certificates to a program of [`program`].
pub(crate) fn signed(mut file: Vec<u8>, certificates: &[Vec<u8>]) -> Vec<u8> {
    let data = [
        der(2, &[1]),
        der(0x31, b""),
        der(0x30, b"what is signed"),
        der(0xa0, &certificates.concat()),
        der(0x31, b"signers"),
    ];
    let data = der(0x30, &[der(6, b"kind"), der(0xa0, &der(0x30, &data.concat()))].concat());
    let start = u32::try_from(file.len()).unwrap();
    file.extend(u32::try_from(data.len() + 8).unwrap().to_le_bytes());
    file.extend([0, 2, 2, 0]);
    file.extend(data);
    file.resize(file.len().next_multiple_of(8), 0);
    let length = u32::try_from(file.len()).unwrap() - start;
    file[0xe8..0xec].copy_from_slice(&start.to_le_bytes());
    file[0xec..0xf0].copy_from_slice(&length.to_le_bytes());
    file
}

/// What passes for a shim with these names, separated by blanks, and this authority; what it refuses is
/// signed by `Refused`. For arm64 its sections have no names that tell.
pub(crate) fn shim_file(machine: u16, version: &str, names: &str, authority: &str) -> Vec<u8> {
    let identity = format!("UEFI SHIM\n$Version: {version} $\n");
    let names: Vec<u8> = names.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let allowed = certificate(authority, authority);
    if machine != 0x8664 {
        return program(
            machine,
            &[(".text", identity.as_bytes()), (".data", &names), (".x", &allowed)],
        );
    }
    let refused = certificate("Refused", "Refused");
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let numbers = [length(&allowed), length(&refused), 16, 16 + length(&allowed)];
    let header = numbers.map(u32::to_le_bytes).concat();
    let vendor = [header, allowed, refused].concat();
    let sections: [(&str, &[u8]); 3] =
        [(".text", identity.as_bytes()), (".data", &names), ("/4", &vendor)];
    let mut file = program(machine, &sections);
    let symbols = length(&file);
    file[0x4c..0x50].copy_from_slice(&symbols.to_le_bytes());
    file.extend([0; 4]);
    file.extend(b".vendor_cert\0");
    file.resize(file.len().next_multiple_of(8), 0);
    file
}
