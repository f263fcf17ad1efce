//! The text that tells a product what kind of disk this is ("Layout Basics", "The Descriptor File").

use super::format::{DESCRIPTOR_SECTORS, SECTOR};

/// Heads and sectors of a track of a SCSI disk above 1 GiB; smaller ones have others, which nothing
/// that starts through UEFI asks for.
const GEOMETRY: (u64, u64) = (255, 63);

/// The kind of disk.
pub(super) const KIND: &str = "createType=\"streamOptimized\"";

/// The descriptor of a disk of so many sectors, filled up with zeros. `content` is the "content id",
/// which a product changes when it first writes to the disk.
pub(super) fn render(sectors: u64, content: u32) -> Vec<u8> {
    let (heads, per_track) = GEOMETRY;
    let cylinders = sectors / (heads * per_track);
    // The two values that mean "none" and "unknown".
    let content = content.clamp(1, u32::MAX - 2);
    let mut bytes = format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={content:08x}\n\
         parentCID=ffffffff\n\
         {KIND}\n\
         \n\
         # Extent description\n\
         RW {sectors} SPARSE \"stream.vmdk\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{heads}\"\n\
         ddb.geometry.sectors = \"{per_track}\"\n\
         ddb.virtualHWVersion = \"13\"\n"
    )
    .into_bytes();
    bytes.resize((DESCRIPTOR_SECTORS * SECTOR) as usize, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_and_names_the_disk() {
        let bytes = render(u64::MAX / 512, u32::MAX);
        assert_eq!(bytes.len(), 20 * 512);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("CID=fffffffd\n") && text.contains("parentCID=ffffffff\n"));
        assert!(text.contains(&format!("RW {} SPARSE", u64::MAX / 512)) && text.ends_with('\0'));
    }
}
