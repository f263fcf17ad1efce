//! Releases made up for tests, a registry, and a machine without slots.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use kiln_erofs::{
    Codec, Encoder, EncoderOptions, ImageOptions, Profile, ValidatedTree, write_image,
};
use kiln_lab::registry::Registry;
use kiln_registry::{Network, Options, Platform, Reference};
use kiln_release::fetch::{
    Brought, Found, LocalContents, RebuildOptions, Remote, Spool, bring, resolve,
};
use kiln_release::push::{PushOptions, ReleaseFolder, Report, push};
use kiln_release::{BootFile, Error, FORMAT, Release, Root, Sequence, Source};
use kiln_tree::{ContentStore as _, Kind, Metadata, Node, Tree, tree_digest};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Repeatable noise.
pub(crate) fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .collect()
}

/// Text that compresses like text, another for each seed.
pub(crate) fn text(length: usize, seed: u32) -> Vec<u8> {
    (0_u32..)
        .flat_map(|n| format!("{n} {}\n", (n ^ seed).wrapping_mul(2_654_435_761)).into_bytes())
        .take(length)
        .collect()
}

/// A tree with every kind of entry, and its contents in an encoder.
pub(crate) struct Made {
    pub(crate) tree: Tree,
    pub(crate) encoder: Encoder,
}

impl Made {
    pub(crate) fn new(codec: Codec) -> Self {
        let spool = tempfile::tempfile().unwrap();
        let encoder = Encoder::new(EncoderOptions { codec, threads: 2, spool }).unwrap();
        Self { tree: Tree::new(), encoder }
    }

    pub(crate) fn put(&mut self, path: &str, kind: Kind, metadata: Metadata) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.tree.ensure_directory(parent.as_bytes(), &Metadata::directory()).unwrap();
        }
        self.tree.insert(path.as_bytes(), Node { kind, metadata }).unwrap();
    }

    pub(crate) fn file(&mut self, path: &str, bytes: &[u8]) {
        let content = self.encoder.store(bytes.len() as u64, &mut &bytes[..]).unwrap();
        self.put(path, Kind::File(content), Metadata::file());
    }

    /// Every kind of entry, odd metadata, contents of all lengths.
    pub(crate) fn corners(codec: Codec) -> Self {
        let mut made = Self::new(codec);
        made.file("empty", b"");
        made.file("usr/short", b"x");
        made.file("usr/same", b"x");
        made.file("usr/lib/text", &text(100_000, 1));
        made.file("usr/lib/long", &text(3_000_000, 2));
        made.file("usr/lib/noise", &noise(1_500_000, 3));
        made.file("usr/lib/long-again", &text(3_000_000, 2));
        made.file("usr/lib/zeros", &vec![0; 900_000]);
        for number in 0..2000 {
            let path = format!("usr/share/many/of-{}/file-{number}", number % 37);
            made.file(&path, format!("content {number}").as_bytes());
        }
        let link = made.tree.lookup(b"usr/lib/text").unwrap();
        made.tree.link(b"usr/also-text", link).unwrap();
        made.put("bin", Kind::Symlink(b"usr/bin".to_vec()), Metadata::symlink());
        made.put("dev/null", Kind::CharacterDevice { major: 1, minor: 3 }, Metadata::file());
        made.put("dev/disk", Kind::BlockDevice { major: 259, minor: 70_000 }, Metadata::file());
        made.put("run/pipe", Kind::Fifo, Metadata::file());
        made.put("run/socket", Kind::Socket, Metadata::file());
        let pipe = made.tree.lookup(b"run/pipe").unwrap();
        made.tree.link(b"run/pipe-2", pipe).unwrap();
        let mut odd = Metadata::with_mode(0o6755);
        odd.uid = 100_000;
        odd.gid = u32::MAX - 1;
        odd.mtime_seconds = -5;
        odd.mtime_nanoseconds = 999_999_999;
        odd.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 2]);
        odd.xattrs.insert(b"user.empty".to_vec(), Vec::new());
        let content = made.encoder.store(3, &mut &b"odd"[..]).unwrap();
        made.put("usr/\u{fc}ber \n weird", Kind::File(content), odd.clone());
        made.put("usr/odd", Kind::Directory(Default::default()), odd);
        made
    }

    /// Writes what a build writes.
    pub(crate) fn build(self, sequence: u64, boot_file: &[u8]) -> (TempDir, Release) {
        let Self { tree, encoder } = self;
        let folder = tempfile::tempdir().unwrap();
        let digest = tree_digest(&tree, &encoder).unwrap();
        let root_path = folder.path().join("edge.root");
        let mut root = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&root_path)
            .unwrap();
        let image = ImageOptions { uuid: [9; 16], build_time: 0 };
        let codec = encoder.codec();
        let facts =
            write_image(&ValidatedTree::new(&tree).unwrap(), &encoder, &root, image).unwrap();
        let salt = [5; 32];
        let blocks = facts.length / 4096;
        let hashes = kiln_verity::build(&root, blocks, &salt, 2).unwrap();
        root.seek(std::io::SeekFrom::Start(facts.length)).unwrap();
        root.write_all(&hashes.bytes).unwrap();
        std::fs::write(folder.path().join("edge.efi"), boot_file).unwrap();
        let release = Release {
            format: FORMAT.into(),
            name: "edge".into(),
            version: sequence.to_string(),
            title: "Edge".into(),
            sequence: Sequence(sequence),
            architecture: "amd64".into(),
            kernel: "6.12".into(),
            profile: Profile::of(codec).number(),
            tree_digest: hex(&digest),
            root: Root {
                length: facts.length + hashes.bytes.len() as u64,
                hash: hashes.root.to_string(),
                data_blocks: blocks,
                salt: hex(&salt),
            },
            boot_files: vec![BootFile {
                mode: "system".into(),
                length: boot_file.len() as u64,
                digest: sha256(boot_file),
            }],
            source: Source { kind: "tree".into(), manifest_digest: None },
            packages: Vec::new(),
            addons: Vec::new(),
            minimum_agent: "0.1.0".into(),
        };
        std::fs::write(folder.path().join("release.json"), release.to_json().unwrap()).unwrap();
        (folder, release)
    }
}

/// A PE file with a stub's, a short and a long section.
pub(crate) fn boot_file(command_line: &str, kernel: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664_u16.to_le_bytes());
    put(0x46, &3_u16.to_le_bytes());
    put(0x54, &240_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    put(0x58 + 108, &16_u32.to_le_bytes());
    let stub = noise(20_000, 77);
    let sections =
        [(".text", &stub[..]), (".cmdline", command_line.as_bytes()), (".linux", kernel)];
    let (mut offset, mut behind) = (0x400_u32, Vec::new());
    for (index, (name, data)) in sections.into_iter().enumerate() {
        let at = 0x58 + 240 + 40 * index;
        let padded = (data.len() as u32).next_multiple_of(512);
        put(at, name.as_bytes());
        put(at + 8, &(data.len() as u32).to_le_bytes());
        put(at + 16, &padded.to_le_bytes());
        put(at + 20, &offset.to_le_bytes());
        offset += padded;
        behind.extend_from_slice(data);
        behind.resize(behind.len().next_multiple_of(512), 0);
    }
    file.extend(behind);
    file
}

pub(crate) fn options(registry: &Registry) -> Options {
    Options {
        platform: Platform::linux("amd64"),
        network: Network {
            plain_http: vec![registry.host()],
            attempts: 4,
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(10),
            read_timeout: Duration::from_millis(1500),
            response_timeout: Duration::from_secs(60),
            ..Network::default()
        },
        ..Options::default()
    }
}

pub(crate) fn reference(registry: &Registry, name: &str) -> Reference {
    format!("{}/{name}", registry.host()).parse().unwrap()
}

pub(crate) fn pushed(registry: &Registry, folder: &Path, name: &str) -> Result<Report, Error> {
    let options = options(registry);
    let reference = reference(registry, name);
    let folder = ReleaseFolder::open(folder)?;
    let scratch = tempfile::tempdir().unwrap();
    let push_options = PushOptions {
        reference: &reference,
        subject: None,
        registry: &options,
        scratch: scratch.path(),
        threads: 2,
    };
    push(&folder, &push_options, &|_, _, _| ())
}

pub(crate) fn release_of(registry: &Registry, name: &str) -> Result<Remote, Error> {
    match resolve(&reference(registry, name), &options(registry))? {
        Found::Release(remote) => Ok(remote),
        Found::ContainerImage(digest) => panic!("{digest} has no release"),
    }
}

/// Brings a release to a machine; gives the root image's bytes too.
pub(crate) fn brought(
    remote: &Remote,
    local: &LocalContents,
    boot_files: &[Vec<u8>],
    spool: &Path,
) -> Result<(Brought, Vec<u8>), Error> {
    brought_into(&tempfile::tempfile().unwrap(), remote, local, boot_files, spool)
}

/// The same into a slot that is there already.
pub(crate) fn brought_into(
    mut root: &File,
    remote: &Remote,
    local: &LocalContents,
    boot_files: &[Vec<u8>],
    spool: &Path,
) -> Result<(Brought, Vec<u8>), Error> {
    let mut spool = Spool::open(spool)?;
    let options = RebuildOptions { spool: tempfile::tempfile().unwrap(), threads: 2 };
    let brought = bring(
        remote,
        local,
        boot_files,
        &mut spool,
        &mut || root.try_clone(),
        options,
        &|_, _, _| (),
    )?;
    let mut bytes = Vec::new();
    root.rewind().unwrap();
    root.read_to_end(&mut bytes).unwrap();
    Ok((brought, bytes))
}

/// Puts a container image with one empty layer into the registry; its digest.
pub(crate) fn container_image(registry: &Registry, repository: &str, tag: &str) -> String {
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let digest = registry.add_blob(repository, &config[..]).unwrap();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let document = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"config\":{{\"mediaType\":\
         \"application/vnd.oci.image.config.v1+json\",\"digest\":\"{digest}\",\"size\":{}}},\
         \"layers\":[]}}",
        config.len()
    );
    registry.add_manifest(repository, Some(tag), media_type, document.as_bytes())
}
