//! The list of kernel modules inside an initramfs, as text in load order.
//!
//! `kiln-init` knows no modules.dep, no modules.alias and no soft dependencies: the builder resolves
//! them once and writes what is left to do. A module may depend only on modules *before* it, so a
//! reader that walks the list from the top can never loop, and a parser that accepts a forward
//! reference would break that; it is therefore an error here. Carrying the image's own modules.dep
//! instead was dropped: it names thousands of modules that are not in the archive, and makes init
//! solve a graph before it can open a disk.
//!
//! One line each, ASCII, LF:
//!
//! ```text
//! module <index> <file name> always|match <dependency indexes, comma separated, or ->
//! alias <index> <modalias pattern>
//! ```

use std::fmt;

/// Where the manifest lies in the initramfs, without the leading slash.
pub const PATH: &str = "kiln/modules";

/// The folder of the module files in the initramfs, without slashes around it.
pub const MODULE_FOLDER: &str = "kiln/mod";

/// The folder of the root with modules that are loaded after it was verified, without the leading
/// slash. Each kernel has a folder in it, named by its release, with the module files and their
/// manifest, [`LATE_MANIFEST`].
pub const LATE_FOLDER: &str = "usr/lib/kiln/modules";

/// Name of the manifest beside the module files of the root. It is no name of a module file.
pub const LATE_MANIFEST: &str = "list";

/// The most modules that a manifest may list. Debian ships about 4,200 modules in all; more than
/// this many lines is a damaged file, and the limit keeps a reader's memory bounded.
pub const MAXIMUM_MODULES: usize = 16_384;

/// The most alias lines; Debian's modules.alias has about 40,000 for all modules together.
pub const MAXIMUM_ALIASES: usize = 262_144;

/// When a module is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Before any device is looked at: file systems, device-mapper, loop.
    Always,
    /// When one of its aliases matches a device, or a module that does depends on it.
    Match,
}

/// One module file of the initramfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// File name inside [`MODULE_FOLDER`], such as `virtio_blk.ko.xz`.
    pub file: String,
    /// When it is loaded.
    pub load: Load,
    /// Indexes of modules that must be loaded before it; all smaller than its own.
    pub dependencies: Vec<usize>,
}

/// A device pattern that asks for a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Index of the module in [`Manifest::modules`].
    pub module: usize,
    /// The pattern, in the form of modules.alias; see [`matches`].
    pub pattern: String,
}

/// All modules of an initramfs, dependencies first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Modules in load order.
    pub modules: Vec<Module>,
    /// Patterns, in the order of the modules.
    pub aliases: Vec<Alias>,
}

/// Why a manifest was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "module manifest, line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ParseError {}

impl Manifest {
    /// Reads the text form.
    ///
    /// # Errors
    /// Names the first line that is not of the form above, whose index is not the next one, that
    /// depends on a later module, or whose file name could leave the module folder.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut manifest = Self::default();
        // Not `lines()`, which takes a carriage return off the end of a pattern.
        for (number, line) in text.split('\n').enumerate() {
            let at = |reason| ParseError { line: number + 1, reason };
            if line.is_empty() {
                continue;
            }
            let (keyword, rest) = line.split_once(' ').ok_or(at("no space after the keyword"))?;
            match keyword {
                "module" => {
                    if manifest.modules.len() >= MAXIMUM_MODULES {
                        return Err(at("too many modules"));
                    }
                    let module = parse_module(rest, manifest.modules.len()).map_err(at)?;
                    manifest.modules.push(module);
                }
                "alias" => {
                    if manifest.aliases.len() >= MAXIMUM_ALIASES {
                        return Err(at("too many aliases"));
                    }
                    let alias = parse_alias(rest, manifest.modules.len()).map_err(at)?;
                    manifest.aliases.push(alias);
                }
                _ => return Err(at("unknown keyword")),
            }
        }
        Ok(manifest)
    }

    /// Writes the text form: all modules, then all aliases. [`Manifest::parse`] reads it back.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (index, module) in self.modules.iter().enumerate() {
            let load = match module.load {
                Load::Always => "always",
                Load::Match => "match",
            };
            let dependencies = if module.dependencies.is_empty() {
                "-".to_owned()
            } else {
                let numbers: Vec<String> =
                    module.dependencies.iter().map(ToString::to_string).collect();
                numbers.join(",")
            };
            text.push_str(&format!("module {index} {} {load} {dependencies}\n", module.file));
        }
        for alias in &self.aliases {
            text.push_str(&format!("alias {} {}\n", alias.module, alias.pattern));
        }
        text
    }

    /// Indexes to load, in order, so that module `index` can be loaded: its dependencies, and it.
    #[must_use]
    pub fn closure(&self, index: usize) -> Vec<usize> {
        let mut wanted = vec![false; self.modules.len()];
        if let Some(first) = wanted.get_mut(index) {
            *first = true;
        }
        // Dependencies always point upwards in the list, so one pass from the end marks them all.
        for current in (0..self.modules.len()).rev() {
            if wanted[current] {
                for &dependency in &self.modules[current].dependencies {
                    if let Some(mark) = wanted.get_mut(dependency) {
                        *mark = true;
                    }
                }
            }
        }
        (0..self.modules.len()).filter(|&position| wanted[position]).collect()
    }

    /// Indexes of modules loaded before any device is looked at, with their dependencies, in order.
    #[must_use]
    pub fn always(&self) -> Vec<usize> {
        let mut wanted: Vec<usize> = self
            .modules
            .iter()
            .enumerate()
            .filter(|(_, module)| module.load == Load::Always)
            .flat_map(|(index, _)| self.closure(index))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Indexes of modules (without dependencies) whose pattern fits a device, ascending, each once.
    #[must_use]
    pub fn matching(&self, modalias: &str) -> Vec<usize> {
        let mut found: Vec<usize> = self
            .aliases
            .iter()
            .filter(|alias| matches(&alias.pattern, modalias))
            .map(|alias| alias.module)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn parse_module(rest: &str, next: usize) -> Result<Module, &'static str> {
    let fields: Vec<&str> = rest.split(' ').collect();
    let [index, file, load, dependencies] = fields[..] else {
        return Err("a module line has four fields");
    };
    if number(index)? != next {
        return Err("modules are not numbered in order from 0");
    }
    if !valid_file_name(file) {
        return Err("not a plain file name");
    }
    let load = match load {
        "always" => Load::Always,
        "match" => Load::Match,
        _ => return Err("neither `always` nor `match`"),
    };
    let dependencies = match dependencies {
        "-" => Vec::new(),
        list => list.split(',').map(number).collect::<Result<Vec<usize>, _>>()?,
    };
    if dependencies.iter().any(|&dependency| dependency >= next) {
        return Err("depends on a module that does not come before it");
    }
    Ok(Module { file: file.to_owned(), load, dependencies })
}

fn parse_alias(rest: &str, modules: usize) -> Result<Alias, &'static str> {
    let (index, pattern) = rest.split_once(' ').ok_or("an alias line has two fields")?;
    let module = number(index)?;
    if module >= modules {
        return Err("alias of an unknown module");
    }
    if pattern.is_empty() {
        return Err("empty pattern");
    }
    Ok(Alias { module, pattern: pattern.to_owned() })
}

/// Decimal digits only: `str::parse` would also take a leading `+`.
fn number(text: &str) -> Result<usize, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("not a number");
    }
    text.parse().map_err(|_| "number out of range")
}

/// Whether a name can stand in a manifest: letters, digits and `_-.+`, not starting with a dot.
#[must_use]
pub fn valid_file_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.+,".contains(&byte))
}

/// Whether a pattern of modules.alias fits the whole `modalias` of a device, by the rules of
/// fnmatch(3) without flags: `*`, `?`, `[…]` with ranges and `!` or `^`, backslash quotes.
///
/// Linear in pattern × modalias at worst (one point of return, the last `*`), never recursive: a
/// pattern comes from the image and must not be able to stall the boot.
#[must_use]
pub fn matches(pattern: &str, modalias: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), modalias.as_bytes());
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at_pattern) == Some(&b'*') {
            at_pattern += 1;
            retry = Some((at_pattern, at_text));
            continue;
        }
        let step = match text.get(at_text) {
            None if at_pattern == pattern.len() => return true,
            None => return false,
            Some(&byte) => match_one(pattern, at_pattern, byte),
        };
        if let Some(next) = step {
            at_pattern = next;
            at_text += 1;
        } else if let Some((star, consumed)) = retry {
            // Let the last `*` swallow one byte more and try again behind it.
            retry = Some((star, consumed + 1));
            at_pattern = star;
            at_text = consumed + 1;
        } else {
            return false;
        }
    }
}

/// The place behind the pattern's element at `at` if that element fits `byte`.
fn match_one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => match bracket(pattern, at + 1, byte) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            // Never closed: fnmatch then takes the bracket for itself.
            None => (byte == b'[').then_some(at + 1),
        },
        b'\\' if at + 1 < pattern.len() => (pattern[at + 1] == byte).then_some(at + 2),
        literal => (literal == byte).then_some(at + 1),
    }
}

/// Whether the bracket expression that starts at `at` (behind `[`) holds `byte`, and where it ends.
fn bracket(pattern: &[u8], mut at: usize, byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    if negated {
        at += 1;
    }
    let mut inside = false;
    let mut first = true;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && !first {
            return Some((inside != negated, at + 1));
        }
        first = false;
        let range_end = pattern.get(at + 2).filter(|&&end| end != b']');
        match (pattern.get(at + 1), range_end) {
            (Some(b'-'), Some(&high)) => {
                inside |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                inside |= low == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        let module = |file: &str, load, dependencies: &[usize]| Module {
            file: file.to_owned(),
            load,
            dependencies: dependencies.to_vec(),
        };
        Manifest {
            modules: vec![
                module("virtio.ko.xz", Load::Match, &[]),
                module("erofs.ko.xz", Load::Always, &[]),
                module("virtio_ring.ko.xz", Load::Match, &[0]),
                module("virtio_blk.ko.xz", Load::Match, &[0, 2]),
            ],
            aliases: vec![Alias { module: 3, pattern: "virtio:d00000002v*".to_owned() }],
        }
    }

    #[test]
    fn a_pattern_keeps_its_last_byte() {
        let text = "module 0 a.ko always -\nalias 0 x\r\r\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.aliases[0].pattern, "x\r\r");
        assert_eq!(manifest.render(), text);
    }

    #[test]
    fn text_survives_a_round_trip() {
        let text = example().render();
        assert_eq!(
            text,
            "module 0 virtio.ko.xz match -\nmodule 1 erofs.ko.xz always -\n\
             module 2 virtio_ring.ko.xz match 0\nmodule 3 virtio_blk.ko.xz match 0,2\n\
             alias 3 virtio:d00000002v*\n"
        );
        assert_eq!(Manifest::parse(&text).unwrap(), example());
    }

    #[test]
    fn closures_come_in_load_order() {
        let manifest = example();
        assert_eq!(manifest.closure(3), [0, 2, 3]);
        assert_eq!(manifest.closure(99), [0_usize; 0]);
        assert_eq!(manifest.always(), [1]);
        assert_eq!(manifest.matching("virtio:d00000002v00001AF4"), [3]);
    }

    #[test]
    fn bad_lines_are_named() {
        let cases = [
            ("module", "no space after the keyword"),
            ("modul 0 a.ko always -", "unknown keyword"),
            ("module 1 a.ko always -", "modules are not numbered in order from 0"),
            ("module 0 ../a.ko always -", "not a plain file name"),
            ("module 0 a.ko sometimes -", "neither `always` nor `match`"),
            ("module 0 a.ko always 0", "depends on a module that does not come before it"),
            ("module 0 a.ko always +1", "not a number"),
            ("module 0 a.ko always", "a module line has four fields"),
            ("alias 0 pci:*", "alias of an unknown module"),
            ("alias 99999999999999999999999 pci:*", "number out of range"),
        ];
        for (line, reason) in cases {
            let text = format!("\n{line}\n");
            assert_eq!(Manifest::parse(&text), Err(ParseError { line: 2, reason }), "{line}");
        }
    }

    #[test]
    fn patterns_match_like_fnmatch() {
        let cases = [
            (
                "pci:v*d*sv*sd*bc01sc08i02*",
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
                true,
            ),
            (
                "pci:v*d*sv*sd*bc01sc08i02*",
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc06i01",
                false,
            ),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("a**b", "ab", true),
            ("a*b*c", "axxbxxb", false),
            ("usb:v0[5-7]*", "usb:v06", true),
            ("usb:v0[!5-7]*", "usb:v06", false),
            ("x[]-]y", "x]y", true),
            ("x[a-]y", "x-y", true),
            ("x[ay", "x[ay", true),
            ("x[ay", "xay", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_parser_never_panics(text in "(module|alias|x)? ?[0-9+]{0,3} ?[a-z./]{0,9} ?(always|match)? ?[0-9,-]{0,5}\n?.{0,20}") {
            if let Ok(manifest) = Manifest::parse(&text) {
                proptest::prop_assert_eq!(Manifest::parse(&manifest.render()), Ok(manifest));
            }
        }

        #[test]
        fn the_matcher_never_panics(pattern in "[a-c*?\\[\\]!\\\\-]{0,24}", text in "[a-c]{0,24}") {
            // Everything fits behind a star that comes last.
            let _ = matches(&pattern, &text);
            proptest::prop_assert!(matches("*", &text));
        }
    }
}
