//! Releases that a machine can fetch: a small tree as a real root image, pushed to the lab's registry.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use kiln_boot::os_release::Mode;
use kiln_erofs::{
    Codec, Encoder, EncoderOptions, ImageOptions, Profile, ValidatedTree, write_image,
};
use kiln_lab::registry::Registry;
use kiln_registry::Options;
use kiln_release::push::{PushOptions, ReleaseFolder, push as push_folder};
use kiln_release::{BootFile, Root};
use kiln_tree::{ContentStore as _, Kind, Metadata, Node, Tree, tree_digest};
use kiln_verity::{RootArgument, encode_hex};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::machine::{Release, boot_file};

/// Bytes of the one file, which does not compress to nothing.
const LENGTH: u32 = 30_000;

/// What a build writes, in a folder: the same for the same number.
pub fn release(number: u8) -> (TempDir, Release) {
    let mut release = Release::new(number);
    let folder = tempfile::tempdir().unwrap();
    let spool = tempfile::tempfile().unwrap();
    let codec = Codec::None;
    let mut encoder = Encoder::new(EncoderOptions { codec, threads: 1, spool }).unwrap();
    let noise: Vec<u8> =
        (0..LENGTH).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ number).collect();
    let mut tree = Tree::new();
    let content = encoder.store(noise.len() as u64, &mut &noise[..]).unwrap();
    let node = Node { kind: Kind::File(content), metadata: Metadata::file() };
    tree.insert(b"init", node).unwrap();
    let digest = tree_digest(&tree, &encoder).unwrap();
    let path = folder.path().join("edge.root");
    let file = File::options().read(true).write(true).create_new(true).open(path);
    let mut root = file.unwrap();
    let image = ImageOptions { uuid: [number; 16], build_time: 0 };
    let facts = write_image(&ValidatedTree::new(&tree).unwrap(), &encoder, &root, image).unwrap();
    let (salt, data_blocks) = ([number; 32], facts.length / 4096);
    let hashes = kiln_verity::build(&root, data_blocks, &salt, 1).unwrap();
    root.seek(SeekFrom::Start(facts.length)).unwrap();
    root.write_all(&hashes.bytes).unwrap();
    release.argument = RootArgument { root: hashes.root, data_blocks, salt };
    release.boot_file = boot_file(&release.argument, number);
    release.root.clear();
    root.rewind().unwrap();
    root.read_to_end(&mut release.root).unwrap();
    release.facts.profile = Profile::of(codec).number();
    release.facts.tree_digest = encode_hex(&digest);
    release.facts.root = Root {
        length: release.root.len() as u64,
        hash: hashes.root.to_string(),
        data_blocks,
        salt: encode_hex(&salt),
    };
    release.facts.boot_files = vec![BootFile {
        mode: Mode::System.name().into(),
        length: release.boot_file.len() as u64,
        digest: encode_hex(&Sha256::digest(&release.boot_file)),
    }];
    fs::write(folder.path().join("edge.efi"), &release.boot_file).unwrap();
    fs::write(folder.path().join("release.json"), release.facts.to_json().unwrap()).unwrap();
    (folder, release)
}

/// Puts it into a registry as `edge:NUMBER`.
pub fn push(registry: &Registry, options: &Options, folder: &Path, number: u8) {
    let scratch = tempfile::tempdir().unwrap();
    let push_options = PushOptions {
        reference: &format!("{}/edge:{number}", registry.host()).parse().unwrap(),
        subject: None,
        registry: options,
        scratch: scratch.path(),
        threads: 1,
    };
    push_folder(&ReleaseFolder::open(folder).unwrap(), &push_options, &|_, _, _| ()).unwrap();
}
