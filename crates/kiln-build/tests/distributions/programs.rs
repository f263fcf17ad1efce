//! The smallest files that pass for a kernel, a stub, a module and a static program. Made byte by
//! byte, so that no test depends on what is installed where it runs.

use std::io::Write as _;

/// Machine numbers of PE and ELF files, and the suffix of EFI programs, of one architecture.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// In OCI's words.
    pub name: &'static str,
    /// In names of EFI programs.
    pub suffix: &'static str,
    pe: u16,
    elf: u16,
}

pub const AMD64: Machine = Machine { name: "amd64", suffix: "x64", pe: 0x8664, elf: 62 };
pub const ARM64: Machine = Machine { name: "arm64", suffix: "aa64", pe: 0xaa64, elf: 183 };

/// A PE32+ EFI application with one section a page behind 0x400 bytes of headers ("PE Format").
fn program(machine: Machine, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &machine.pe.to_le_bytes());
    put(0x46, &(sections.len() as u16).to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    let pages = sections.len() as u32 + 1;
    for (at, value) in
        [(32, 4096), (36, 512), (56, pages * 4096), (60, 0x400), (68, 10), (108, 16_u32)]
    {
        put(0x58 + at, &value.to_le_bytes());
    }
    for (index, (name, data)) in sections.iter().enumerate() {
        let at = 0x58 + 240 + 40 * index;
        let index = index as u32;
        put(at, name.as_bytes());
        let fields = [data.len() as u32, (index + 1) * 4096, 512, 0x400 + index * 512];
        for (field, value) in fields.into_iter().enumerate() {
            put(at + 8 + 4 * field, &value.to_le_bytes());
        }
    }
    for (_, data) in sections {
        file.extend_from_slice(data);
        file.resize(file.len().next_multiple_of(512), 0);
    }
    file
}

/// systemd's stub, or its loader.
pub fn boot_program(machine: Machine, what: &str) -> Vec<u8> {
    program(machine, &[(".text", what.as_bytes()), (".sbat", b"sbat,1,test")])
}

/// A kernel. One for x86 carries its release as a bzImage does ("The Linux/x86 Boot Protocol").
pub fn kernel(machine: Machine, release: &str) -> Vec<u8> {
    let mut file = program(machine, &[(".text", b"kernel")]);
    if machine.name == "amd64" {
        file[0x202..0x206].copy_from_slice(b"HdrS");
        file[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        let text = format!("{release} (builder@host) #1\0");
        file[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
    }
    file
}

/// A kernel module: an ELF file whose `.modinfo` has these records; `symbol` is what it calls.
pub fn module(name: &str, symbol: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0";
    let information = format!("license=GPL\0name={name}\0");
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file.extend_from_slice(names);
    let information_at = file.len();
    file.extend_from_slice(information.as_bytes());
    file.extend_from_slice(symbol.as_bytes());
    let table = file.len() as u64;
    file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    file[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
    file[0x3c..0x3e].copy_from_slice(&2_u16.to_le_bytes());
    for (name, at, size) in [(0_u32, 64, names.len()), (1, information_at, information.len())] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&(at as u64).to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
        file.extend_from_slice(&header);
    }
    file
}

/// A static ELF program without a single segment, told apart by its last words.
pub fn static_program(machine: Machine, words: &str) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file[16..18].copy_from_slice(&2_u16.to_le_bytes());
    file[18..20].copy_from_slice(&machine.elf.to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[54..56].copy_from_slice(&56_u16.to_le_bytes());
    file.extend_from_slice(words.as_bytes());
    file
}

/// How a distribution compresses its modules, by the ending that it gives them.
pub fn compressed(ending: &str, plain: &[u8]) -> Vec<u8> {
    match ending {
        "" => plain.to_vec(),
        ".gz" => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
        ".xz" => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 6);
            out.write_all(plain).unwrap();
            out.finish().unwrap()
        }
        ".zst" => zstd::bulk::compress(plain, 3).unwrap(),
        other => panic!("no module ends in {other}"),
    }
}
