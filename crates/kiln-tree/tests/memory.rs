//! 500,000 entries with SELinux labels fit into 200 MiB, and the tree is not slow to merge.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test by panicking")]

mod support;

use std::io::{self, Read};

use kiln_tree::{LayerMerge, Limits, MemoryStore};
use support::Layer;

/// Resident memory of this process in KiB.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Makes the archive while it is read, so that it takes no memory itself.
struct Generated {
    next: u32,
    pending: io::Cursor<Vec<u8>>,
}

impl Read for Generated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.pending.read(buffer)? {
                0 if self.next == 500_000 => return Ok(0),
                0 => {}
                count => return Ok(count),
            }
            let (directory, file) = (self.next / 20, self.next % 20);
            let layer = Layer::new()
                .record("SCHILY.xattr.security.selinux", b"system_u:object_r:usr_t:s0\0");
            let layer = if file == 0 {
                layer.directory(&format!("usr/share/package-{directory}"), 0o755)
            } else {
                layer.file(&format!("usr/share/package-{directory}/some-file-{file}.txt"), "")
            };
            self.pending = io::Cursor::new(layer.bytes);
            self.next += 1;
        }
    }
}

#[test]
fn half_a_million_entries_fit_into_200_mib() {
    struct Nowhere(MemoryStore);
    impl kiln_tree::ContentStore for Nowhere {
        fn store(&mut self, size: u64, _: &mut dyn Read) -> io::Result<kiln_tree::Content> {
            Ok(kiln_tree::Content { id: kiln_tree::ContentId(0), size })
        }
        fn opener(&self, content: kiln_tree::Content) -> io::Result<kiln_tree::Opener> {
            self.0.opener(content)
        }
        fn digest(&self, content: kiln_tree::Content) -> io::Result<[u8; 32]> {
            self.0.digest(content)
        }
    }
    let before = resident("VmRSS");
    let mut store = Nowhere(MemoryStore::new());
    let mut merge = LayerMerge::new(&mut store, Limits::default());
    merge
        .layer("generated", &mut || {
            Ok(Box::new(Generated { next: 0, pending: io::Cursor::default() }))
        })
        .unwrap();
    let tree = merge.finish().unwrap();
    let used = resident("VmHWM") - before;
    assert_eq!(tree.entry_count(), 500_003);
    assert!(used < 200 << 10, "{used} KiB");
    println!("{used} KiB for 500,000 entries");
}
