//! The program as its users call it, and a small image that it builds.
//!
//! The image has all that Kiln looks for and nothing that runs: its kernel, stub and loader are
//! headers. It is made by hand in each test, a few kilobytes at a time.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kiln_lab::efi::program;
use kiln_registry::Platform;
use kiln_registry::layout::{WriteOptions, write_oci_archive};

/// The program with an empty environment: no configuration, no cache, no tools.
pub fn kiln(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.env_clear().args(arguments);
    command
}

/// What a call did: exit code, standard output, standard error.
pub fn answer(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// Names in a folder, sorted, hidden ones included; none if there is no folder.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Everything a test needs in one private folder.
pub struct Bench {
    pub folder: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes `NAME`, an OCI archive of the clean image with more files.
    pub fn archive(&self, name: &str, more: &[(&str, &[u8])]) -> String {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, bytes) in clean() {
            append(&mut layer, &path, &bytes);
        }
        for (path, bytes) in more {
            append(&mut layer, path, bytes);
        }
        let layer = layer.into_inner().unwrap();
        let options = WriteOptions {
            platform: Platform::linux("amd64"),
            reference: Some("latest".into()),
            ..WriteOptions::default()
        };
        let path = self.path(name);
        write_oci_archive(&path, &mut [&mut layer.as_slice()], &options).unwrap();
        format!("oci-archive:{}", path.display())
    }

    /// A folder with programs that pass for Kiln's own: ELF headers without an interpreter.
    pub fn runtime(&self) -> String {
        let mut header = [0_u8; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18..20].copy_from_slice(&62_u16.to_le_bytes());
        let folder = self.path("runtime");
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["kiln", "kiln-init"] {
            std::fs::write(folder.join(name), header).unwrap();
        }
        folder.to_str().unwrap().to_owned()
    }

    /// `kiln build … -o FOLDER/out` with what the small image needs.
    pub fn build(&self, arguments: &[&str]) -> Command {
        let mut command = kiln(&["build"]);
        command.args(arguments).args(["--runtime", &self.runtime()]);
        command.args(["--platform", "linux/amd64", "--threads", "1", "--esp-size", "64MiB"]);
        if !arguments.iter().any(|argument| argument.starts_with("--slot-size")) {
            command.args(["--slot-size", "64MiB"]);
        }
        command.args(["-o", &self.text("out")]);
        command
    }
}

/// Bytes that no codec makes smaller (xorshift; any constants would do).
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

fn append(layer: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    layer.append_data(&mut header, path, bytes).unwrap();
}

/// The files of an image on which no rule fires.
fn clean() -> Vec<(String, Vec<u8>)> {
    let mut files = vec![
        ("boot/vmlinuz-6.12".to_owned(), program(Some("6.12"))),
        ("usr/lib/modules/6.12/modules.builtin".to_owned(), Vec::new()),
        ("usr/lib/systemd/boot/efi/linuxx64.efi.stub".to_owned(), program(None)),
        ("usr/lib/systemd/boot/efi/systemd-bootx64.efi".to_owned(), program(None)),
        ("usr/lib/systemd/systemd".to_owned(), b"init".to_vec()),
        ("usr/sbin/mke2fs".to_owned(), b"mkfs".to_vec()),
        ("usr/lib/os-release".to_owned(), b"ID=edge\nVERSION_ID=13\n".to_vec()),
        (
            "etc/passwd".to_owned(),
            b"root:x:0:0::/root:/bin/sh\nkiln:x:1000:1000::/home/kiln:/bin/sh\n".to_vec(),
        ),
        ("etc/shadow".to_owned(), b"root:*:1::::::\nkiln:$6$salt$hash:1::::::\n".to_vec()),
    ];
    let mut index = String::new();
    for module in ["erofs", "dm-verity", "overlay", "ext4", "vfat"] {
        let path = format!("usr/lib/modules/6.12/kernel/{module}.ko");
        files.push((path, format!("{module} calls LZ4_decompress_safe").into_bytes()));
        index.push_str(&format!("kernel/{module}.ko:\n"));
    }
    files.push(("usr/lib/modules/6.12/modules.dep".to_owned(), index.into_bytes()));
    files
}
