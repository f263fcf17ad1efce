//! Whether a kernel can run a Kiln system at all.
//!
//! Asked at build time, because the alternative is a machine that stops in its first second. The
//! module index is believed before the configuration: it describes what is really in the image. Of
//! the codecs only the configuration knows; without it the EROFS module is searched for the name of
//! the decompressor that it calls.

use std::fmt;

use kiln_tree::{ContentStore, Tree};

use crate::config::Setting;
use crate::modules::index::ModuleIndex;
use crate::source::{self, BINARY_LIMIT, join};
use crate::{Error, Kernel};

/// How the root image's file data is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootCodec {
    /// Not compressed.
    None,
    /// LZ4 blocks, from LZ4 or LZ4HC.
    Lz4,
    /// Zstandard, which EROFS reads since Linux 6.10.
    Zstd,
}

/// Something that the kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A driver: neither a module of the image nor built in.
    Driver {
        /// What it is for, such as `dm-verity`.
        name: &'static str,
        /// Its option, without `CONFIG_`.
        option: &'static str,
    },
    /// EROFS is there, but not the decoder for the chosen codec.
    Codec {
        /// Name of the codec.
        name: &'static str,
        /// Its option, without `CONFIG_`.
        option: &'static str,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver { name, option } => write!(formatter, "{name} (CONFIG_{option})"),
            Self::Codec { name, option } => {
                write!(formatter, "{name} decompression in EROFS (CONFIG_{option})")
            }
        }
    }
}

impl Missing {
    /// What the author of the image can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Driver { .. } => "install a kernel that has it, or the package with the rest of \
                                    its modules, such as kernel-modules-core or \
                                    linux-modules-extra"
                .to_owned(),
            Self::Codec { name: "zstd", .. } => {
                "build with --compress lz4hc, or install Linux 6.10 or newer with this option"
                    .to_owned()
            }
            Self::Codec { .. } => {
                "build with --compress none, or install a kernel with this option".to_owned()
            }
        }
    }
}

/// Module, option and name of every driver that all systems need.
const DRIVERS: [(&str, &str, &str); 5] = [
    ("erofs", "EROFS_FS", "EROFS"),
    ("dm_verity", "DM_VERITY", "dm-verity"),
    ("overlay", "OVERLAY_FS", "overlayfs"),
    ("ext4", "EXT4_FS", "ext4"),
    ("vfat", "VFAT_FS", "FAT"),
];

/// Refuses a kernel that cannot mount a root of this codec, naming all that it lacks at once.
///
/// # Errors
/// [`Error::Incapable`], or the EROFS module could not be read.
pub fn check(
    tree: &Tree,
    store: &dyn ContentStore,
    kernel: &Kernel,
    index: &ModuleIndex,
    codec: RootCodec,
) -> Result<(), Error> {
    let option = |name: &str| kernel.config.as_ref().map(|config| config.setting(name));
    let mut missing: Vec<Missing> = DRIVERS
        .into_iter()
        .filter(|(module, setting, _)| {
            let present = index.file(module).is_some()
                || index.is_built_in(module)
                || option(setting) == Some(Setting::BuiltIn);
            !present
        })
        .map(|(_, option, name)| Missing::Driver { name, option })
        .collect();
    let wanted = match codec {
        RootCodec::None => None,
        RootCodec::Lz4 => Some(("LZ4", "EROFS_FS_ZIP", &b"LZ4_decompress_safe"[..])),
        RootCodec::Zstd => Some(("zstd", "EROFS_FS_ZIP_ZSTD", &b"zstd_decompress_stream"[..])),
    };
    if let Some((name, setting, symbol)) = wanted
        && !missing.iter().any(|lack| matches!(lack, Missing::Driver { option: "EROFS_FS", .. }))
    {
        let readable = match option(setting) {
            Some(setting) => setting == Setting::BuiltIn,
            None => match erofs_module(tree, store, kernel, index)? {
                Some(module) => contains(&module, symbol),
                // Built in and no configuration to ask: LZ4 is on by default, zstd is not.
                None => codec == RootCodec::Lz4,
            },
        };
        if !readable {
            missing.push(Missing::Codec { name, option: setting });
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Incapable { release: kernel.release.clone(), missing })
    }
}

fn erofs_module(
    tree: &Tree,
    store: &dyn ContentStore,
    kernel: &Kernel,
    index: &ModuleIndex,
) -> Result<Option<Vec<u8>>, Error> {
    let (Some(folder), Some(file)) = (&kernel.modules, index.file("erofs")) else {
        return Ok(None);
    };
    let path = join(folder, file.path.as_bytes());
    match source::read(tree, store, &path, BINARY_LIMIT)? {
        Some(bytes) => source::decompress(bytes, &path, BINARY_LIMIT).map(Some),
        None => Ok(None),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Image, kernel_file};

    /// An image whose kernel has the modules of `dep`, and a configuration if one is given.
    fn verdict(
        modules: &[(&str, &str)],
        config: Option<&str>,
        codec: RootCodec,
    ) -> Result<(), Error> {
        let mut image = Image::default();
        image.bytes("boot/vmlinuz-6.12", &kernel_file("6.12"));
        let mut index = String::new();
        for (name, text) in modules {
            image.text(&format!("usr/lib/modules/6.12/kernel/{name}.ko"), text);
            index.push_str(&format!("kernel/{name}.ko:\n"));
        }
        image.text("usr/lib/modules/6.12/modules.dep", &index);
        image.text("usr/lib/modules/6.12/modules.builtin", "kernel/fs/ext4/ext4.ko\n");
        if let Some(config) = config {
            image.text("boot/config-6.12", config);
        }
        let kernel = Kernel::find(&image.tree, &image.store).unwrap();
        let index = ModuleIndex::load(&image.tree, &image.store, &kernel).unwrap();
        check(&image.tree, &image.store, &kernel, &index, codec)
    }

    const LZ4_ONLY: [(&str, &str); 4] =
        [("erofs", "uses LZ4_decompress_safe"), ("dm-verity", ""), ("overlay", ""), ("vfat", "")];

    /// Modules, configuration, codec, and the expected complaint.
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>, RootCodec, Option<&'a str>);

    #[test]
    fn what_is_missing_is_named_together_with_a_remedy() {
        let cases: [Case<'_>; 7] = [
            (&LZ4_ONLY, None, RootCodec::Lz4, None),
            (&LZ4_ONLY, None, RootCodec::None, None),
            (
                &LZ4_ONLY,
                None,
                RootCodec::Zstd,
                Some("zstd decompression in EROFS (CONFIG_EROFS_FS_ZIP_ZSTD)"),
            ),
            (&LZ4_ONLY, Some("CONFIG_EROFS_FS_ZIP_ZSTD=y\n"), RootCodec::Zstd, None),
            (
                &LZ4_ONLY,
                Some("CONFIG_EROFS_FS=m\n"),
                RootCodec::Lz4,
                Some("LZ4 decompression in EROFS (CONFIG_EROFS_FS_ZIP)"),
            ),
            (
                &LZ4_ONLY[..1],
                None,
                RootCodec::Lz4,
                Some(
                    "dm-verity (CONFIG_DM_VERITY), overlayfs (CONFIG_OVERLAY_FS), FAT (CONFIG_VFAT_FS)",
                ),
            ),
            (
                &[],
                Some(
                    "CONFIG_EROFS_FS=y\nCONFIG_DM_VERITY=y\nCONFIG_OVERLAY_FS=y\nCONFIG_VFAT_FS=y\nCONFIG_EROFS_FS_ZIP=y\n",
                ),
                RootCodec::Lz4,
                None,
            ),
        ];
        for (modules, config, codec, expected) in cases {
            match (verdict(modules, config, codec), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(expected)) => {
                    assert_eq!(error.to_string(), format!("kernel 6.12 lacks {expected}"));
                    assert!(error.hint().unwrap().contains("install"));
                }
                (verdict, expected) => panic!("{verdict:?} instead of {expected:?}"),
            }
        }
    }
}
