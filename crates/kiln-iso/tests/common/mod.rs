//! Media for the tests of this crate.

use kiln_disk::fat::{FatFile, format_filesystem};
use kiln_disk::{BlockDevice as _, MemoryDevice};
use kiln_iso::{BiosBoot, Content, Layout, Medium, Partition, Tree, plan, stream};

pub(crate) const MIB: u64 = 1 << 20;
/// 2020-09-13 12:26:40.
pub(crate) const TIME: u64 = 1_600_000_000;

/// A core that is as long as a small one of GRUB.
pub(crate) const CORE: &[u8] = &[0x5a; 30_001];
/// Stands for `boot_hybrid.img`.
pub(crate) const CODE: &[u8] = &[0xa5; 512];

/// Everything that a medium can have, in 44 MiB.
pub(crate) fn full_medium() -> Medium<'static> {
    let mut tree = Tree::new();
    tree.file("boot/grub/grub.cfg", 0o644, Content::bytes(&b"menuentry kiln {\n}\n"[..])).unwrap();
    tree.file("boot/vmlinuz", 0o755, Content::bytes(vec![0x11; 70_000])).unwrap();
    tree.file("boot/empty", 0o600, Content::bytes(&b""[..])).unwrap();
    tree.file("kiln/root.img", 0o444, Content::partition(Partition::Root)).unwrap();
    tree.file("kiln/esp.img", 0o444, Content::partition(Partition::Esp)).unwrap();
    tree.directory("bare", 0o700).unwrap();
    tree.symlink("boot/link", "../kiln/root.img").unwrap();
    tree.symlink("absolute", "/boot/vmlinuz").unwrap();
    tree.file("Größe: a*b?.txt", 0o644, Content::bytes(&b"name"[..])).unwrap();
    tree.file("n".repeat(255), 0o644, Content::bytes(&b"long"[..])).unwrap();
    tree.symlink("deep/".repeat(12) + "end", "x/".repeat(500) + "y").unwrap();
    let esp_length = 34 * MIB;
    let files = [FatFile { path: "EFI/BOOT/BOOTX64.EFI", bytes: b"loader" }];
    let esp = format_filesystem(esp_length, 512, 7, b"KILN-ESP   ", &files).unwrap();
    let esp = esp.into_iter().map(|(at, bytes)| (at, bytes.into_owned().into())).collect();
    let mut medium = Medium::new("KILN_TEST", [7; 32], tree);
    medium.time = TIME;
    medium.publisher = "KILN TESTS".into();
    medium.bios = Some(BiosBoot { path: "boot/grub/core.img", core: CORE, boot_code: Some(CODE) });
    medium.esp = Some(Content::pieces(esp_length, esp));
    medium.root =
        Some(Content::bytes((0..40_960_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>()));
    medium.customizable = true;
    medium
}

/// The bytes of a layout.
pub(crate) fn bytes(layout: &Layout<'_>) -> Vec<u8> {
    let mut image = Vec::new();
    assert_eq!(stream(layout, &mut image).unwrap(), layout.length);
    assert_eq!(image.len() as u64, layout.length);
    image
}

/// A medium with this tree and nothing else.
pub(crate) fn image_of(tree: Tree<'_>) -> MemoryDevice {
    let layout = plan(Medium::new("TREE", [1; 32], tree)).unwrap();
    MemoryDevice::new(&bytes(&layout), 512).unwrap()
}

/// Only what the planner made, on a disk of the right length.
pub(crate) fn metadata(layout: &Layout<'_>) -> MemoryDevice {
    let mut device = MemoryDevice::empty(layout.length, 512).unwrap();
    for (offset, bytes) in layout.metadata() {
        device.write_at(offset, bytes).unwrap();
    }
    device
}
