//! veritysetup, an independent implementation, must compute the same root hash and accept the tree
//! where this crate puts it: directly behind the data, without a superblock.

use kiln_verity::{BLOCK, RootArgument, build, encode_hex};
use std::io::Write;
use std::path::Path;
use std::process::Command;

const SALT: [u8; 32] = [0x5a; 32];

/// Bytes without a period that a hash block could hide.
fn pattern(blocks: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..blocks * BLOCK as u64)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

fn verify(image: &Path, argument: &RootArgument) -> std::process::Output {
    Command::new("veritysetup")
        .args(["verify", "--no-superblock", "--format=1", "--hash=sha256"])
        .args(["--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--hash-offset={}", argument.hash_offset()))
        .arg(format!("--data-blocks={}", argument.data_blocks))
        .arg(format!("--salt={}", encode_hex(&argument.salt)))
        .args([image, image])
        .arg(argument.root.to_string())
        .output()
        .expect("veritysetup must be installed")
}

#[test]
fn veritysetup_accepts_the_tree_and_refuses_a_changed_one() {
    let folder = tempfile::tempdir().unwrap();
    // One hash block, a full one, two levels, a full second level, and three levels.
    for blocks in [2, 128, 129, 700, 16_385] {
        let data = pattern(blocks);
        let tree = build(&data, blocks, &SALT, 2).unwrap();
        let argument = RootArgument { root: tree.root, data_blocks: blocks, salt: SALT };
        let path = folder.path().join(format!("{blocks}.image"));
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&data).unwrap();
        file.write_all(&tree.bytes).unwrap();
        assert_eq!(file.metadata().unwrap().len(), argument.image_length());
        let output = verify(&path, &argument);
        assert!(output.status.success(), "{blocks} blocks: {output:?}");

        std::os::unix::fs::FileExt::write_all_at(&file, b"x", (blocks - 1) * 4096 + 77).unwrap();
        assert!(!verify(&path, &argument).status.success(), "{blocks} blocks");
    }
}
