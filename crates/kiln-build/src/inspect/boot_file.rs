//! A boot file: what it starts and which root it proves.
//!
//! The command line is read as the first process reads it: one `kiln.root`, in its strict form, or
//! none. What is wrong with it is told, because such a file boots nothing.

use kiln_boot::os_release::OsRelease;
use kiln_boot::uki;
use kiln_verity::{RootArgument, encode_hex};
use serde::Serialize;

/// Longest text in bytes that is taken from a section: 64 KiB, eight times the longest command line.
const MAXIMUM_TEXT: usize = 64 << 10;

/// What a boot file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootFileFacts {
    /// `amd64` or `arm64`; none for another machine.
    pub architecture: Option<&'static str>,
    /// Whether a certificate table is attached.
    pub signed: bool,
    /// Sections in file order.
    pub sections: Vec<SectionFacts>,
    /// Title of the boot menu (`.osrel`).
    pub title: Option<String>,
    /// Release of the kernel (`.uname`).
    pub kernel: Option<String>,
    /// Kernel command line (`.cmdline`).
    pub command_line: Option<String>,
    /// Value of `kiln.mode`.
    pub mode: Option<String>,
    /// The root that it proves.
    pub root: Option<RootNamed>,
    /// Why its `kiln.root` is not usable, if it has one.
    pub problem: Option<String>,
}

/// A section of a PE file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SectionFacts {
    /// Name with its leading dot.
    pub name: String,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file, without padding.
    pub length: u64,
}

/// A parsed `kiln.root`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootNamed {
    /// Digest of the top hash block.
    pub hash: String,
    /// Number of data blocks of 4096 bytes.
    pub data_blocks: u64,
    /// Salt in front of every block.
    pub salt: String,
    #[serde(skip)]
    pub(super) argument: RootArgument,
}

/// Reads a PE file.
pub(super) fn facts(file: &[u8]) -> Result<BootFileFacts, kiln_boot::Error> {
    let uki = uki::parse(file)?;
    let text = |name: &str| {
        let bytes = uki.section(name)?;
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAXIMUM_TEXT)]).into_owned();
        Some(text.trim_end_matches(['\0', '\n']).to_owned())
    };
    let command_line = text(".cmdline");
    let words = command_line.as_deref().unwrap_or_default();
    let value = |name: &'static str| {
        words
            .split_ascii_whitespace()
            .filter_map(move |word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let mode = value("kiln.mode").next().map(str::to_owned);
    let (root, problem) = match value("kiln.root").collect::<Vec<_>>()[..] {
        [] => (None, None),
        [word] => match word.parse::<RootArgument>() {
            Ok(argument) => (Some(named(argument)), None),
            Err(error) => (None, Some(error.to_string())),
        },
        _ => (None, Some("kiln.root is given twice".to_owned())),
    };
    Ok(BootFileFacts {
        architecture: uki.architecture.map(|architecture| architecture.name()),
        signed: uki.signed,
        sections: uki
            .sections
            .iter()
            .map(|section| SectionFacts {
                name: section.name.clone(),
                offset: u64::from(section.file_offset),
                length: section.data.len() as u64,
            })
            .collect(),
        title: text(".osrel").and_then(|text| OsRelease::parse(&text).title().map(str::to_owned)),
        kernel: text(".uname"),
        command_line,
        mode,
        root,
        problem,
    })
}

fn named(argument: RootArgument) -> RootNamed {
    RootNamed {
        hash: argument.root.to_string(),
        data_blocks: argument.data_blocks,
        salt: encode_hex(&argument.salt),
        argument,
    }
}
