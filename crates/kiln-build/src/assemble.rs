//! From a source to a release: the root image in its place, the boot file in memory.
//!
//! Each step takes what the one before made; none goes back. All results are functions of the
//! tree and the options: the salt, the identifiers of file systems and disks come from digests, and
//! no clock or random source is asked. First boot gives every machine its own identifiers.
//!
//! Where the root goes is the caller's: a builder has a file for it, a machine its other slot.
//! Nothing here knows about disks. A machine's slots also lend encoded contents; one that rots
//! meanwhile only means that all is done again without them.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use kiln_boot::Kernel;
use kiln_boot::capability::{self, RootCodec};
use kiln_boot::initramfs::{self, Initramfs};
use kiln_boot::loader::BootPrograms;
use kiln_boot::modules::index::ModuleIndex;
use kiln_boot::modules::plan::Selection;
use kiln_boot::os_release::{Mode, OsRelease, boot_file_text};
use kiln_boot::uki::format::Architecture;
use kiln_boot::uki::mode::for_mode;
use kiln_boot::uki::{self, UkiSections};
use kiln_disk::layout::Layout;
use kiln_erofs::{
    Codec, Encoder, EncoderOptions, ImageOptions, Lender, Profile, ValidatedTree, image_length,
    write_image,
};
use kiln_release::{BootFile, FORMAT, Release, Root, Sequence, Source as ReleaseSource};
use kiln_tree::{ContentStore as _, Kind, Tree, tree_digest};
use kiln_verity::{RootArgument, RootHash};
use tempfile::TempDir;

use crate::addon::{self, AddonFile};
use crate::attempts::try_twice;
use crate::checksum::{hex, sha256};
use crate::layer::{self, LayerContents};
use crate::recipe::Recipe;
use crate::source::{self, Loaded};
use crate::watch::CountEncoded;
use crate::{BuildOptions, Error, Input, Progress, Runtime, Step, containerfile, packages};

/// Kernel arguments of every system, in front of the user's own: a panic reboots after ten
/// seconds, so does a crashed systemd, because a machine at the edge must come back by itself.
/// systemd must not mount the ESP by itself: it is changed underneath, see `kiln_disk::fat::update`.
const KERNEL_ARGUMENTS: [&str; 3] = ["panic=10", "systemd.crash_reboot=yes", "systemd.gpt_auto=no"];

/// Consoles unless the user names one: screen and first serial line, the latter for `/dev/console`.
const CONSOLES_AMD64: [&str; 2] = ["console=tty0", "console=ttyS0,115200n8"];
/// The same on arm64 boards and virtual machines.
const CONSOLES_ARM64: [&str; 2] = ["console=tty0", "console=ttyAMA0"];

/// Where an assembly puts its root image, and what it needs on the way.
pub trait Place {
    /// The place of the root image of the system `name`, open for reading and writing from its
    /// beginning. Asked once.
    ///
    /// # Errors
    /// It cannot be made or opened.
    fn root(&mut self, name: &str) -> Result<File, Error>;

    /// Told the length in bytes of the root image and its hash tree, before the place is asked for.
    ///
    /// # Errors
    /// There is no room for it; nothing was changed then.
    fn check(&mut self, _length: u64) -> Result<(), Error> {
        Ok(())
    }

    /// A file without a name, for data that is needed only during the assembly.
    ///
    /// # Errors
    /// It cannot be made.
    fn spool(&self) -> Result<File, Error>;

    /// A folder that only this user can enter and that goes away with the returned value.
    ///
    /// # Errors
    /// It cannot be made.
    fn private_folder(&self) -> Result<TempDir, Error>;

    /// Root images whose encoded contents are copied where they did not change, for a root of
    /// `profile`; what [`Self::root`] gives must not be among them. Asked once. None, unless a machine
    /// has slots.
    fn lenders(&self, _profile: Profile) -> Vec<Arc<Lender>> {
        Vec::new()
    }
}

/// A release whose root image is in its place.
#[derive(Debug)]
pub struct Assembled {
    /// Its facts.
    pub release: Release,
    /// The boot file (UKI) of the system mode.
    pub boot_file: Vec<u8>,
    /// The same for recovery.
    pub recovery_file: Vec<u8>,
    /// The layout that the root carries; the usual one if it has none.
    pub layout: Layout,
    /// Kernel arguments that a machine may switch on; the root holds them, too.
    pub addons: Vec<AddonFile>,
    /// What firmware starts and what that starts: paths on the ESP and contents, in the order in which
    /// they are to be laid.
    pub loaders: Vec<(String, Vec<u8>)>,
    /// The verity root hash.
    pub root_hash: RootHash,
    /// The root image, as [`Place::root`] gave it.
    pub root: File,
}

/// Assembles the release that `options` ask for; formats, output folder and disk sizes in them are
/// not looked at.
///
/// # Errors
/// Any of [`Error`]; what [`Place::root`] gave may then be half written.
pub fn assemble(
    options: &BuildOptions,
    place: &mut dyn Place,
    progress: &mut dyn Progress,
) -> Result<Assembled, Error> {
    let profile = Profile::of(options.codec);
    try_twice(profile, place, progress, |lenders, place, progress| {
        attempt(options, lenders, place, progress)
    })
}

fn attempt(
    options: &BuildOptions,
    lenders: Vec<Arc<Lender>>,
    place: &mut dyn Place,
    progress: &mut dyn Progress,
) -> Result<Assembled, Error> {
    let mut encoder = encoder(options.codec, options.threads, lenders, place)?;
    let Loaded { mut tree, architecture, created, manifest_digest, name } =
        load(options, place, &mut encoder, progress)?;
    let os_release = os_release(&tree, &encoder)?;
    let name = options.name.clone().or(os_release.name().map(str::to_owned)).unwrap_or(name);
    let version = options.version.clone().or(os_release.version().map(str::to_owned));
    let version = version.unwrap_or_else(|| "0".to_owned());
    check_name("name", &name)?;
    let title = os_release.title().unwrap_or(&name).to_owned();

    progress.step(Step::Layer);
    let runtime = Runtime::find(options.runtime.as_deref(), &architecture)?;
    let recipe = Recipe::of(options)?;
    let contents = LayerContents { binary: &runtime.kiln, users: &options.users, recipe: &recipe };
    let report = layer::apply(&mut tree, &mut encoder, &contents)?;
    for note in &report.notes {
        progress.detail(note);
    }
    let packages = packages::packages(&tree, &encoder).map_err(Error::Contents)?;

    progress.step(Step::Initramfs);
    let kernel = Kernel::find(&tree, &encoder)?;
    if kernel.architecture.name() != architecture {
        progress.warning(&format!(
            "the image says {architecture}, its kernel is for {}",
            kernel.architecture.name()
        ));
    }
    let index = ModuleIndex::load(&tree, &encoder, &kernel)?;
    capability::check(&tree, &encoder, &kernel, &index, root_codec(options.codec))?;
    let programs = boot_programs(options, &tree, &encoder, &kernel, place, progress)?;
    if recipe.carries_boot_files() {
        layer::add_boot_files(&mut tree, &mut encoder, &programs, kernel.architecture)?;
    }
    let addons =
        addon::add(&mut tree, &mut encoder, &options.addons, programs.addon_stub.as_deref())?;
    let selection = Selection { set: options.modules, extra: options.extra_modules.clone() };
    let initramfs: Initramfs =
        initramfs::build(&tree, &encoder, &kernel, &index, &selection, &runtime.init)?;
    let late = initramfs::late_modules(&tree, &encoder, &kernel, &index, &selection)?;
    layer::add_late_modules(&mut tree, &mut encoder, &late)?;
    progress.detail(&format!(
        "{} modules, {} bytes before compression",
        initramfs.modules.len(),
        initramfs.archive.len()
    ));
    // Nobody needs it before the boot file.
    let compressing = std::thread::spawn(|| initramfs.compress());

    progress.step(Step::Encode);
    let digest = tree_digest(&tree, &CountEncoded::new(&encoder, &tree, progress))
        .map_err(Error::Contents)?;

    progress.step(Step::Root);
    let profile = Profile::of(options.codec).number();
    let uuid = identifier("erofs", &digest);
    let image_options = ImageOptions { uuid, build_time: 0 };
    let valid = ValidatedTree::new(&tree)?;
    place.check(with_hash_tree(image_length(&valid, &encoder, image_options)?))?;
    let mut root_file = place.root(&name)?;
    let facts = write_image(&valid, &encoder, &root_file, image_options)?;
    drop(valid);
    drop(encoder);
    drop(tree);

    progress.step(Step::Verity);
    let salt = sha256(&[b"kiln verity salt\0", &digest, &profile.to_le_bytes()]);
    let data_blocks = facts.length / kiln_verity::BLOCK as u64;
    let hashes = kiln_verity::build(&root_file, data_blocks, &salt, options.threads)?;
    append(&mut root_file, facts.length, &hashes.bytes, options)?;
    let root_argument = RootArgument { root: hashes.root, data_blocks, salt };
    let root_length = root_argument.image_length();

    progress.step(Step::BootFile);
    let initramfs = compressing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let command_line = command_line(&root_argument, options, &kernel);
    let boot_file = uki::assemble(
        &programs.stub,
        &UkiSections {
            os_release: boot_file_text(&title, Mode::System).as_bytes(),
            command_line: command_line.as_bytes(),
            kernel_release: kernel.release.as_bytes(),
            initrd: &initramfs,
            linux: &kernel.image,
        },
    )?;
    // Made as a machine makes it from what it starts with, so that both are always the same.
    let recovery_file = for_mode(&boot_file, Mode::Recovery)?;
    let release = Release {
        format: FORMAT.to_owned(),
        name,
        version,
        title,
        sequence: options
            .sequence
            .map_or_else(|| Sequence::from_created(created.as_deref()), Sequence),
        architecture: kernel.architecture.name().to_owned(),
        kernel: kernel.release.clone(),
        profile,
        tree_digest: hex(&digest),
        root: Root {
            length: root_length,
            hash: hashes.root.to_string(),
            data_blocks,
            salt: hex(&salt),
        },
        boot_files: [(Mode::System, &boot_file), (Mode::Recovery, &recovery_file)]
            .map(|(mode, bytes)| BootFile {
                mode: mode.name().to_owned(),
                length: bytes.len() as u64,
                digest: hex(&sha256(&[bytes])),
            })
            .to_vec(),
        source: ReleaseSource {
            kind: if manifest_digest.is_some() { "oci" } else { "tree" }.to_owned(),
            manifest_digest,
        },
        packages,
        addons: addons.iter().map(|addon| addon.facts.clone()).collect(),
        minimum_agent: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let loaders = programs.loaders.on_system_partition(kernel.architecture);
    Ok(Assembled {
        release,
        boot_file,
        recovery_file,
        layout: report.layout,
        addons,
        loaders: loaders.into_iter().map(|(path, bytes)| (path, bytes.to_vec())).collect(),
        root_hash: hashes.root,
        root: root_file,
    })
}

/// The tree, from a container image that has to be built first if the options say so.
fn load(
    options: &BuildOptions,
    place: &dyn Place,
    encoder: &mut Encoder,
    progress: &mut dyn Progress,
) -> Result<Loaded, Error> {
    match &options.input {
        Input::Source(source) => source::load(source, &options.reading, encoder, progress),
        Input::Containerfile(containerfile) => {
            progress.step(Step::Image);
            let folder = place.private_folder()?;
            let source = containerfile::build(containerfile, folder.path(), progress)?;
            source::load(&source, &options.reading, encoder, progress)
        }
    }
}

pub(crate) fn encoder(
    codec: Codec,
    threads: usize,
    lenders: Vec<Arc<Lender>>,
    place: &dyn Place,
) -> Result<Encoder, Error> {
    let options = EncoderOptions { codec, threads, spool: place.spool()? };
    Encoder::with_lenders(options, lenders).map_err(Error::Contents)
}

fn os_release(tree: &Tree, store: &Encoder) -> Result<OsRelease, Error> {
    for path in OsRelease::PATHS {
        let Some(id) = tree.resolve(path.as_bytes()) else { continue };
        if let Kind::File(content) = tree.node(id).kind {
            let bytes = store.read(content).map_err(Error::Contents)?;
            return Ok(OsRelease::parse(&String::from_utf8_lossy(&bytes)));
        }
    }
    Ok(OsRelease::default())
}

/// Names become file names on every kind of file system.
fn check_name(what: &'static str, value: &str) -> Result<(), Error> {
    let error = |reason| Err(Error::Name { what, value: value.to_owned(), reason });
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    if value.is_empty() || value.len() > 128 {
        return error("it must have 1 to 128 characters");
    }
    if !value.bytes().all(is_allowed) {
        return error("only letters, digits, `.`, `_`, `-` and `+` are allowed");
    }
    if value.starts_with(['.', '-']) {
        return error("it begins with `.` or `-`");
    }
    Ok(())
}

fn root_codec(codec: Codec) -> RootCodec {
    match codec {
        Codec::None => RootCodec::None,
        Codec::Lz4 | Codec::Lz4hc { .. } => RootCodec::Lz4,
        Codec::Zstd { .. } => RootCodec::Zstd,
    }
}

/// Stub and loader, from the second image if one was given.
fn boot_programs(
    options: &BuildOptions,
    tree: &Tree,
    store: &Encoder,
    kernel: &Kernel,
    place: &dyn Place,
    progress: &mut dyn Progress,
) -> Result<BootPrograms, Error> {
    let Some(source) = &options.boot_files else {
        return Ok(BootPrograms::find(tree, store, kernel.architecture)?);
    };
    let mut second = encoder(Codec::None, options.threads, Vec::new(), place)?;
    let loaded = source::load(source, &options.reading, &mut second, progress)?;
    Ok(BootPrograms::find(&loaded.tree, &second, kernel.architecture)?)
}

fn command_line(root: &RootArgument, options: &BuildOptions, kernel: &Kernel) -> String {
    let mut arguments = vec![format!("kiln.root={root}"), "kiln.mode=system".to_owned()];
    arguments.extend(KERNEL_ARGUMENTS.map(str::to_owned));
    if !options.kernel_arguments.iter().any(|argument| argument.starts_with("console=")) {
        let consoles = match kernel.architecture {
            Architecture::X86_64 => CONSOLES_AMD64,
            Architecture::Aarch64 => CONSOLES_ARM64,
        };
        arguments.extend(consoles.map(str::to_owned));
    }
    arguments.extend(options.kernel_arguments.iter().cloned());
    arguments.join(" ")
}

/// 16 bytes that depend on `digest` alone, different for every purpose; with the version and
/// variant bits of a custom UUID (RFC 9562, version 8).
pub(crate) fn identifier(purpose: &str, digest: &[u8; 32]) -> [u8; 16] {
    let hash = sha256(&[b"kiln identifier\0", purpose.as_bytes(), b"\0", digest]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

/// Bytes of a root image of `length` bytes and the hash tree behind it.
fn with_hash_tree(length: u64) -> u64 {
    let block = kiln_verity::BLOCK as u64;
    length.saturating_add(kiln_verity::tree_blocks(length / block).saturating_mul(block))
}

fn append(file: &mut File, at: u64, bytes: &[u8], options: &BuildOptions) -> Result<(), Error> {
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.write_all(bytes))
        .map_err(|source| Error::write(&options.output, source))
}

#[cfg(test)]
mod tests {
    use super::{check_name, identifier};

    #[test]
    fn names_that_are_no_file_names_are_refused() {
        for good in ["edge", "Edge-13.1+a_b"] {
            assert!(check_name("name", good).is_ok(), "{good}");
        }
        for bad in ["", ".", "../etc", "a/b", "-f", "a b", &"a".repeat(129)] {
            assert!(check_name("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn identifiers_differ_by_purpose_and_are_version_8() {
        let first = identifier("disk", &[1; 32]);
        assert_eq!(first, identifier("disk", &[1; 32]));
        assert_ne!(first, identifier("esp", &[1; 32]));
        assert_eq!((first[6] >> 4, first[8] >> 6), (8, 2));
    }
}
