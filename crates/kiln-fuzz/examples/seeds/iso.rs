//! Seeds of ISO images.

use std::error::Error;

use kiln_disk::{BlockDevice, apply};
use kiln_fuzz::SparseDisk;
use kiln_iso::{
    BiosBoot, Content, Customization, Document, Iso, Medium, Partition, Regions, Tree, plan,
};

use crate::binary::Seed;

type Outcome<T> = Result<T, Box<dyn Error>>;

pub(crate) fn seeds() -> Outcome<Vec<Seed>> {
    let mut plain = Tree::new();
    plain.file("boot/kernel", 0o644, Content::bytes(&b"kernel"[..]))?;
    plain.directory("empty", 0o700)?;
    let mut names = Tree::new();
    names.file("n".repeat(255), 0o644, Content::bytes(&b""[..]))?;
    names.file("Größe: *?.x", 0o755, Content::bytes(&b"x"[..]))?;
    names.symlink("link", "long/".repeat(120) + "end")?;
    let mut deep = Tree::new();
    deep.file("d/".repeat(20) + "end", 0o644, Content::bytes(&b"deep"[..]))?;
    let mut booted = Medium::new("BOOTED", [1; 32], Tree::new());
    booted.tree.file("root", 0o444, Content::partition(Partition::Root))?;
    booted.bios = Some(BiosBoot { path: "core.img", core: &[0; 3000], boot_code: Some(&[0; 512]) });
    booted.esp = Some(Content::bytes(vec![0; 4096]));
    booted.root = Some(Content::bytes(vec![0; 4096]));
    let mut customized = Medium::new("CUSTOM", [2; 32], Tree::new());
    customized.customizable = true;
    let mut large = Medium::new("LARGE", [3; 32], Tree::new());
    large.tree.file("root", 0o444, Content::partition(Partition::Root))?;
    large.root = Some(Content::pieces(5 << 30, Vec::new()));
    let mut customized = disk(customized, true)?;
    let regions = Regions::find(&Iso::open(&customized)?)?;
    let document = Document { name: "config.ign".into(), bytes: b"{}".to_vec() };
    let with = Customization { arguments: "quiet".into(), documents: vec![document] };
    apply(&mut customized, &regions.customize(&with)?)?;
    Ok(vec![
        ("iso", "plain", encoded(&disk(Medium::new("PLAIN", [0; 32], plain), true)?)?),
        ("iso", "names", encoded(&disk(Medium::new("NAMES", [0; 32], names), true)?)?),
        ("iso", "deep", encoded(&disk(Medium::new("DEEP", [0; 32], deep), true)?)?),
        ("iso", "booted", encoded(&disk(booted, true)?)?),
        ("iso", "several-extents", encoded(&disk(large, false)?)?),
        ("iso", "customized", encoded(&customized)?),
    ])
}

/// The image, or only what the planner made of it.
fn disk(medium: Medium<'_>, whole: bool) -> Outcome<SparseDisk> {
    let layout = plan(medium)?;
    let mut disk = SparseDisk::empty(512, layout.length);
    if whole {
        let mut image = Vec::new();
        kiln_iso::stream(&layout, &mut image)?;
        for (number, grain) in image.chunks(512).enumerate() {
            if grain.iter().any(|byte| *byte != 0) {
                disk.write_at(number as u64 * 512, grain)?;
            }
        }
    } else {
        for (offset, bytes) in layout.metadata() {
            disk.write_at(offset, bytes)?;
        }
    }
    Ok(disk)
}

fn encoded(disk: &SparseDisk) -> Outcome<Vec<u8>> {
    disk.encode().ok_or_else(|| "the disk is too long for an input".into())
}
