//! Writer of core images: kernel, modules, configuration and prefix become one packed program
//! (`util/mkimage.c`, `grub_install_generate_image`).

use std::io;

use liblzma::stream::{Action, Filters, LzmaOptions, Status, Stream};

use super::folder::{self, Folder};
use super::format::{
    COMPRESSED_SIZE, DECOMPRESSOR_LIMIT, LINK_ADDRESS, LIST_LENGTH, LIST_SEGMENT, LZMA_DICTIONARY,
    LZMA_LITERAL_CONTEXT_BITS, LZMA_LITERAL_POSITION_BITS, LZMA_POSITION_BITS, MODULE_ALIGNMENT,
    MODULE_HEADER, MODULE_INFO, MODULE_MAGIC, PACKED_END, SECTOR, SEGMENT, TYPE_CONFIGURATION,
    TYPE_ELF, TYPE_PREFIX, UNCOMPRESSED_SIZE, put, u16_at,
};
use super::{kernel, modules};
use crate::Error;

/// Most bytes of a payload: what it is unpacked to begins at 1 MiB, and all modules together have 5
/// MB.
const PAYLOAD_LIMIT: usize = 8 << 20;

/// liblzma's preset. GRUB's decoder does not care, and nobody waits for this.
const PRESET: u32 = 9;

/// What goes into a core image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe<'a> {
    /// Modules; those that they need are added.
    pub modules: &'a [&'a str],
    /// Where GRUB finds its menu: a folder, with a partition in parentheses in front if it is not
    /// the one that the BIOS started from.
    pub prefix: &'a str,
    /// Commands that are run first, in GRUB's rescue language; none if empty.
    pub configuration: &'a str,
}

/// What a core image holds before it is packed: the kernel, then modules, configuration and prefix.
///
/// # Errors
/// What is missing or damaged in the folder.
pub fn payload(folder: &dyn Folder, recipe: &Recipe<'_>) -> Result<Vec<u8>, Error> {
    let path = |file: &str| format!("{}/{file}", folder.path());
    for text in [recipe.prefix, recipe.configuration] {
        if text.contains('\0') {
            let reason = "it has a zero byte";
            return Err(Error::Text { what: "the begin of the core image".to_owned(), reason });
        }
    }
    let modules = modules::closure(folder, recipe.modules)?;
    let mut objects: Vec<(u32, Vec<u8>)> = Vec::new();
    for (name, bytes) in modules {
        if !bytes.starts_with(b"\x7fELF") {
            let path = path(&format!("{name}.mod"));
            return Err(Error::Damaged { path, reason: "it is no module" });
        }
        objects.push((TYPE_ELF, bytes));
    }
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    if !recipe.configuration.is_empty() {
        objects.push((TYPE_CONFIGURATION, text(recipe.configuration)));
    }
    objects.push((TYPE_PREFIX, text(recipe.prefix)));

    let mut payload = kernel::sections(&folder::read(folder, "kernel.img")?, &path("kernel.img"))?;
    let padded = |bytes: &[u8]| bytes.len().next_multiple_of(MODULE_ALIGNMENT) + MODULE_HEADER;
    let size = MODULE_INFO + objects.iter().map(|(_, bytes)| padded(bytes)).sum::<usize>();
    let limit = PAYLOAD_LIMIT as u64;
    let too_large =
        || Error::CoreTooLarge { what: "GRUB with its modules", size: size as u64, limit };
    if size > PAYLOAD_LIMIT {
        return Err(too_large());
    }
    // All below the limit, so 32 bits hold it.
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    payload.extend(MODULE_MAGIC.to_le_bytes());
    payload.extend(number(MODULE_INFO));
    payload.extend(number(size));
    for (kind, bytes) in objects {
        let length = padded(&bytes);
        let end = payload.len() + length;
        payload.extend(kind.to_le_bytes());
        payload.extend(number(length));
        payload.extend(bytes);
        payload.resize(end, 0);
    }
    Ok(payload)
}

/// The image that a boot sector starts: without the place that it lies at.
pub(super) fn assemble(folder: &dyn Folder, recipe: &Recipe<'_>) -> Result<Vec<u8>, Error> {
    let payload = payload(folder, recipe)?;
    let packed = pack(&payload).map_err(|source| Error::Compress { source })?;
    let damaged =
        |file: &str, reason| Error::Damaged { path: format!("{}/{file}", folder.path()), reason };

    let file = "lzma_decompress.img";
    let mut core = folder::read(folder, file)?;
    if core.len() > DECOMPRESSOR_LIMIT {
        return Err(damaged(file, "it is larger than the room for it"));
    }
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let is_put = put(&mut core, COMPRESSED_SIZE, &number(packed.len()))
        && put(&mut core, UNCOMPRESSED_SIZE, &number(payload.len()));
    if !is_put {
        return Err(damaged(file, "it ends inside its header"));
    }
    core.extend(packed);
    let limit = u64::from(PACKED_END - LINK_ADDRESS);
    if core.len() as u64 > limit {
        let size = core.len() as u64;
        return Err(Error::CoreTooLarge { what: "GRUB's core image", size, limit });
    }

    let file = "diskboot.img";
    let mut image = folder::read(folder, file)?;
    if image.len() != SECTOR || u16_at(&image, LIST_SEGMENT) != Some(SEGMENT) {
        return Err(damaged(file, "it is not laid out as GRUB's loader is"));
    }
    let sectors = u16::try_from(core.len().div_ceil(SECTOR)).unwrap_or(u16::MAX);
    put(&mut image, LIST_LENGTH, &sectors.to_le_bytes());
    image.extend(core);
    Ok(image)
}

/// Packs as GRUB's decompressor unpacks: LZMA without any header.
fn pack(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut options = LzmaOptions::new_preset(PRESET)?;
    options
        .dict_size(LZMA_DICTIONARY)
        .literal_context_bits(LZMA_LITERAL_CONTEXT_BITS)
        .literal_position_bits(LZMA_LITERAL_POSITION_BITS)
        .position_bits(LZMA_POSITION_BITS);
    let mut filters = Filters::new();
    filters.lzma1(&options);
    let mut stream = Stream::new_raw_encoder(&filters)?;
    // Incompressible input grows by less than this.
    let mut packed = Vec::with_capacity(payload.len() + payload.len() / 8 + 1024);
    match stream.process_vec(payload, &mut packed, Action::Finish)? {
        Status::StreamEnd => Ok(packed),
        _ => Err(io::Error::other("the packed image is larger than the image")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::kernel_file;
    use super::super::{BiosBoot, CD_PREFIX, Partition, cd, disk};
    use super::*;
    use std::collections::BTreeMap;

    /// A folder in memory.
    struct Files(BTreeMap<String, Vec<u8>>);

    impl Folder for Files {
        fn path(&self) -> String {
            "grub".to_owned()
        }

        fn read(&self, file: &str, _: usize) -> io::Result<Option<Vec<u8>>> {
            Ok(self.0.get(file).cloned())
        }
    }

    fn files() -> Files {
        let mut files = BTreeMap::new();
        let mut boot = vec![0; SECTOR];
        boot[0x64] = 0xff;
        boot[0x66..0x68].copy_from_slice(&[0xeb, 5]);
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        let mut diskboot = vec![0; SECTOR];
        diskboot[LIST_SEGMENT..].copy_from_slice(&SEGMENT.to_le_bytes());
        for (name, bytes) in [
            ("kernel.img", kernel_file()),
            ("boot.img", boot),
            ("diskboot.img", diskboot),
            ("cdboot.img", vec![3; 2048]),
            ("lzma_decompress.img", vec![7; 32]),
            ("moddep.lst", b"fat: fshelp\nfshelp:\n".to_vec()),
        ] {
            files.insert(name.to_owned(), bytes);
        }
        for name in super::super::MODULES.iter().chain(&["fshelp"]) {
            files.insert(format!("{name}.mod"), format!("\x7fELF{name}").into_bytes());
        }
        Files(files)
    }

    const RECIPE: Recipe<'_> =
        Recipe { modules: &["fat"], prefix: CD_PREFIX, configuration: "normal\n" };
    const PLACE: Partition = Partition { offset: 1 << 20, length: 1 << 20, sector_size: 512 };

    #[test]
    fn a_payload_is_kernel_modules_configuration_and_prefix() {
        let expected: Vec<u8> = [
            &b"text1234\0\0\0\0data"[..],
            b"mimg\x0c\0\0\0\x54\0\0\0",
            b"\0\0\0\0\x14\0\0\0\x7fELFfshelp\0\0",
            b"\0\0\0\0\x10\0\0\0\x7fELFfat\0",
            b"\x02\0\0\0\x10\0\0\0normal\n\0",
            b"\x03\0\0\0\x14\0\0\0/boot/grub\0\0",
        ]
        .concat();
        assert_eq!(payload(&files(), &RECIPE).unwrap(), expected);
        let bare = Recipe { configuration: "", ..RECIPE };
        assert_eq!(payload(&files(), &bare).unwrap().len(), expected.len() - 16);
    }

    #[test]
    fn a_disk_and_a_cd_get_what_they_start_from() {
        let BiosBoot { boot_code, core } = disk(&files(), PLACE).unwrap();
        assert_eq!(boot_code[0x5c..0x64], 2048_u64.to_le_bytes());
        assert_eq!(core.len() % SECTOR, 0);
        assert_eq!(usize::from(u16_at(&core, LIST_LENGTH).unwrap()), core.len() / SECTOR - 1);
        assert_eq!(disk(&files(), PLACE).unwrap().core, core, "not deterministic");
        let image = cd(&files(), &RECIPE).unwrap();
        assert!(image.starts_with(&[3; 2048]) && image.len() > 2048 + SECTOR);
    }

    #[test]
    fn what_is_missing_or_damaged_is_named() {
        for name in [
            "kernel.img",
            "boot.img",
            "diskboot.img",
            "lzma_decompress.img",
            "moddep.lst",
            "fshelp.mod",
            "regexp.mod",
        ] {
            let mut without = files();
            without.0.remove(name);
            let error = disk(&without, PLACE).unwrap_err();
            let name = name.trim_end_matches(".mod");
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.hint().is_some(), "{error}");
            let mut large = files();
            large.0.insert(name.to_owned(), vec![0; 3 << 20]);
            large.0.insert(format!("{name}.mod"), vec![0; 3 << 20]);
            assert!(disk(&large, PLACE).is_err(), "{name}");
        }
        for (name, bytes) in [
            ("fat.mod", &b"text"[..]),
            ("diskboot.img", &[0; SECTOR]),
            ("diskboot.img", &[0; 100]),
            ("lzma_decompress.img", &[0; 8]),
            ("lzma_decompress.img", &[0; 4000]),
            ("moddep.lst", b"fat: ../fat\n"),
            ("moddep.lst", b"\xff"),
            ("boot.img", &[0; SECTOR]),
        ] {
            let mut damaged = files();
            damaged.0.insert(name.to_owned(), bytes.to_vec());
            assert!(disk(&damaged, PLACE).is_err(), "{name}");
        }
        let mut damaged = files();
        damaged.0.insert("cdboot.img".to_owned(), vec![0; 512]);
        assert!(cd(&damaged, &RECIPE).is_err());
        assert!(cd(&files(), &Recipe { prefix: "a\0b", ..RECIPE }).is_err());
    }

    #[test]
    fn places_that_a_bios_cannot_start_from_are_refused() {
        for place in [
            Partition { sector_size: 4096, ..PLACE },
            Partition { offset: 0, ..PLACE },
            Partition { offset: 1000, ..PLACE },
            Partition { length: 512, ..PLACE },
        ] {
            assert!(disk(&files(), place).is_err(), "{place:?}");
        }
    }
}
