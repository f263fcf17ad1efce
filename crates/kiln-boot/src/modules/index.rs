//! Reader of depmod's text files: modules.dep, modules.builtin (and .modinfo), modules.alias,
//! modules.softdep, modules.order.
//!
//! The binary twins (`*.bin`) say the same in a trie and are not read: the text is small and the
//! same on every distribution. Kernel, depmod and configuration spell one module with `-` and `_`
//! as they like, so every name is normalised to `_` on the way in, here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use kiln_tree::{ContentStore, Tree};

use crate::source::{self, INDEX_LIMIT, without_compression};
use crate::{Error, Kernel, manifest};

/// A module name as the kernel shows it in /proc/modules: `-` becomes `_`.
#[must_use]
pub fn normalise(name: &str) -> String {
    name.replace('-', "_")
}

/// The normalised module name of a path such as `kernel/fs/fat/nls-x.ko.xz`; none if the file is no
/// module.
#[must_use]
pub fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    without_compression(file).strip_suffix(".ko").filter(|name| !name.is_empty()).map(normalise)
}

/// One module file of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleFile {
    /// Path below the kernel's module folder.
    pub path: String,
    /// Names of modules whose symbols it uses, in the order of modules.dep.
    pub dependencies: Vec<String>,
}

/// What the kernel has, by normalised name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleIndex {
    files: BTreeMap<String, ModuleFile>,
    built_in: BTreeSet<String>,
    aliases: Vec<(String, String)>,
    soft: BTreeMap<String, Vec<String>>,
    order: BTreeMap<String, usize>,
}

impl ModuleIndex {
    /// Reads the index of a kernel from the image.
    ///
    /// # Errors
    /// No modules.dep, or a file that is too large or cannot be read. A kernel without module
    /// folder has an empty index: all of it may be built in.
    pub fn load(tree: &Tree, store: &dyn ContentStore, kernel: &Kernel) -> Result<Self, Error> {
        let mut index = Self::default();
        let Some(folder) = &kernel.modules else { return Ok(index) };
        let read = |name: &str| -> Result<Option<String>, Error> {
            let path = source::join(folder, name.as_bytes());
            let bytes = source::read(tree, store, &path, INDEX_LIMIT)?;
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let Some(dependencies) = read("modules.dep")? else {
            return Err(Error::NoModuleIndex {
                release: kernel.release.clone(),
                path: source::shown(&source::join(folder, b"modules.dep")),
            });
        };
        index.add_dependencies(&dependencies);
        index.add_built_in(&read("modules.builtin")?.unwrap_or_default());
        index.add_built_in_information(&read("modules.builtin.modinfo")?.unwrap_or_default());
        index.add_aliases(&read("modules.alias")?.unwrap_or_default());
        index.add_soft_dependencies(&read("modules.softdep")?.unwrap_or_default());
        index.add_order(&read("modules.order")?.unwrap_or_default());
        Ok(index)
    }

    /// Adds modules.dep: `path: path …`, relative to the module folder. The first of two files with
    /// one name wins, as depmod lists the one that modprobe would take.
    pub fn add_dependencies(&mut self, text: &str) {
        for line in text.lines() {
            let Some((path, needs)) = line.split_once(':') else { continue };
            let path = path.trim();
            let Some(name) = name_of(path) else { continue };
            let dependencies = needs.split_whitespace().filter_map(name_of).collect();
            self.files
                .entry(name)
                .or_insert_with(|| ModuleFile { path: path.to_owned(), dependencies });
        }
    }

    /// Adds modules.builtin: one path per line.
    pub fn add_built_in(&mut self, text: &str) {
        self.built_in.extend(text.lines().filter_map(|line| name_of(line.trim())));
    }

    /// Adds modules.builtin.modinfo: `name.key=value`, each ended by NUL. It also lists code that
    /// can never be a module, which modules.builtin leaves out.
    pub fn add_built_in_information(&mut self, text: &str) {
        for record in text.split('\0') {
            let Some((name, rest)) = record.split_once('.') else { continue };
            if rest.contains('=') && !name.is_empty() {
                self.built_in.insert(normalise(name));
            }
        }
    }

    /// Adds modules.alias: `alias <pattern> <name>`. A pattern may hold blanks.
    pub fn add_aliases(&mut self, text: &str) {
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("alias ") else { continue };
            if let Some((pattern, name)) = rest.trim().rsplit_once(' ') {
                self.aliases.push((pattern.trim().to_owned(), normalise(name)));
            }
        }
    }

    /// Adds modules.softdep: `softdep <name> pre: <names> post: <names>`. Only what comes before
    /// matters to us: `post` modules never stand between a machine and its root.
    pub fn add_soft_dependencies(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some("softdep"), Some(name)) = (words.next(), words.next()) else { continue };
            let mut before = false;
            for word in words {
                match word {
                    "pre:" => before = true,
                    "post:" => before = false,
                    _ if before => {
                        self.soft.entry(normalise(name)).or_default().push(word.to_owned());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Adds modules.order: paths in the order in which the kernel was linked.
    pub fn add_order(&mut self, text: &str) {
        for name in text.lines().filter_map(|line| name_of(line.trim())) {
            let next = self.order.len();
            self.order.entry(name).or_insert(next);
        }
    }

    /// The file of a module, by any spelling of its name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&ModuleFile> {
        self.files.get(&normalise(name))
    }

    /// All module files by normalised name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &ModuleFile)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }

    /// Whether a module of this name is part of the kernel image.
    #[must_use]
    pub fn is_built_in(&self, name: &str) -> bool {
        self.built_in.contains(&normalise(name))
    }

    /// Patterns that ask for a module, in the order of modules.alias.
    pub fn patterns_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.aliases
            .iter()
            .filter(move |(_, module)| module == name)
            .map(|(pattern, _)| pattern.as_str())
    }

    /// What a wish stands for: the module of that name, or all modules with a fitting alias, as
    /// modprobe resolves it. Sorted; empty if nothing of the kind is a module.
    #[must_use]
    pub fn providers(&self, wish: &str) -> Vec<&str> {
        if let Some((name, _)) = self.files.get_key_value(&normalise(wish)) {
            return vec![name];
        }
        if self.is_built_in(wish) {
            return Vec::new();
        }
        let found: BTreeSet<&str> = self
            .aliases
            .iter()
            .filter(|(pattern, name)| {
                self.files.contains_key(name) && manifest::matches(pattern, wish)
            })
            .map(|(_, name)| name.as_str())
            .collect();
        found.into_iter().collect()
    }

    /// The stored spelling of a module's name, none if it is no module of this kernel.
    #[must_use]
    pub fn known_name(&self, name: &str) -> Option<&str> {
        self.files.get_key_value(&normalise(name)).map(|(name, _)| name.as_str())
    }

    /// Names that must be loaded before a module: hard dependencies, then soft ones that exist.
    #[must_use]
    pub fn needs_of(&self, name: &str) -> Vec<&str> {
        let hard = self.files.get(name).map_or(&[][..], |file| &file.dependencies);
        let soft = self.soft.get(name).map_or(&[][..], Vec::as_slice);
        hard.iter()
            .filter_map(|needed| self.files.get_key_value(needed))
            .map(|(name, _)| name.as_str())
            .chain(soft.iter().flat_map(|wish| self.providers(wish)))
            .collect()
    }

    /// Place in the kernel's link order; modules from elsewhere come last.
    #[must_use]
    pub fn rank(&self, name: &str) -> usize {
        self.order.get(name).copied().unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        let cases = [
            ("kernel/drivers/md/dm-verity.ko.xz", Some("dm_verity")),
            ("a.ko", Some("a")),
            ("kernel/x/b.ko.zst", Some("b")),
            ("kernel/x/b.ko.gz", Some("b")),
            ("kernel/x/b.so", None),
            ("kernel/x/.ko", None),
            ("", None),
        ];
        for (path, expected) in cases {
            assert_eq!(name_of(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn the_files_of_depmod_are_read() {
        let mut index = ModuleIndex::default();
        index.add_dependencies(
            "kernel/md/dm-verity.ko.xz: kernel/md/dm-bufio.ko.xz kernel/md/dm-mod.ko.xz\n\
             kernel/md/dm-bufio.ko.xz:\nkernel/c/crc32c-intel.ko.xz:\nrubbish\n\
             kernel/c/crc32c_generic.ko.xz:\nextra/dm-bufio.ko: a.ko\n  late.ko :\n",
        );
        index.add_built_in("kernel/fs/ext4/ext4.ko\n");
        index.add_built_in_information("sd_mod.license=GPL\0sd_mod.alias=scsi:t-0x00*\0nothing\0");
        index.add_aliases(
            "# comment\nalias crc32c crc32c-intel\nalias crypto-crc32c crc32c_intel\n\
             alias crc32c crc32c_generic\nalias acpi*:PNP A 08:* dm-mod\nalias ext4 missing\n",
        );
        index.add_soft_dependencies("# x\nsoftdep dm-verity pre: crc32c post: zlib pre: ext4\n");
        index.add_order("kernel/c/crc32c_generic.ko\nkernel/md/dm-verity.ko\n");

        assert_eq!(index.file("dm-verity").unwrap().dependencies, ["dm_bufio", "dm_mod"]);
        assert_eq!(index.file("dm_bufio").unwrap().path, "kernel/md/dm-bufio.ko.xz");
        assert_eq!(index.file("late").unwrap().path, "late.ko");
        assert!(index.is_built_in("ext4") && index.is_built_in("sd-mod"));
        assert!(!index.is_built_in("nothing"));
        assert_eq!(index.needs_of("dm_verity"), ["dm_bufio", "crc32c_generic", "crc32c_intel"]);
        assert_eq!(index.patterns_of("dm_mod").collect::<Vec<_>>(), ["acpi*:PNP A 08:*"]);
        assert!(index.rank("crc32c_generic") < index.rank("dm_verity"));
        assert_eq!(index.rank("dm_bufio"), usize::MAX);
    }

    proptest::proptest! {
        #[test]
        fn rubbish_never_panics(text in "(softdep|alias|a\\.ko|:|pre:|\\.|=|\0| |\n|[a-c*\\[]){0,40}") {
            let mut index = ModuleIndex::default();
            index.add_dependencies(&text);
            index.add_built_in(&text);
            index.add_built_in_information(&text);
            index.add_aliases(&text);
            index.add_soft_dependencies(&text);
            index.add_order(&text);
            for (name, _) in index.files() {
                proptest::prop_assert!(index.needs_of(name).len() <= text.len());
            }
        }
    }
}
