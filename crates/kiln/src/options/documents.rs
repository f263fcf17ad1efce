//! Configuration documents on the command line: files, standard input, and what they are taken for.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use kiln_config::check::{Checked, Dialect, Input, check};
use kiln_config::source::MAXIMUM_BYTES;

use crate::render::Failure;

/// The documents of a verb.
#[derive(Debug, Args)]
pub(crate) struct DocumentArguments {
    /// The documents, in the order in which they apply; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Take all documents for this dialect instead of looking at each
    #[arg(long, value_name = "DIALECT", value_enum)]
    dialect: Option<DialectName>,
}

/// A dialect on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum DialectName {
    /// Elemental, cOS and cloud-init
    CloudConfig,
    /// The same as yip reads it
    Yip,
    /// Ignition 2.x and 3.x
    Ignition,
    /// Butane, Ignition's YAML
    Butane,
    /// Kiln's own YAML
    Provision,
}

impl DialectName {
    /// The dialect of that name.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::CloudConfig => Dialect::CloudConfig,
            Self::Yip => Dialect::Yip,
            Self::Ignition => Dialect::Ignition,
            Self::Butane => Dialect::Butane,
            Self::Provision => Dialect::Provision,
        }
    }
}

impl DocumentArguments {
    /// Reads and checks all documents together.
    pub(crate) fn check(&self) -> Result<Checked, Failure> {
        check_files(&self.files, self.dialect.map(DialectName::dialect))
    }
}

/// Reads and checks files together; `-` is standard input.
pub(crate) fn check_files(files: &[PathBuf], dialect: Option<Dialect>) -> Result<Checked, Failure> {
    let inputs = files.iter().map(|path| {
        let name = path.to_string_lossy().into_owned();
        let bytes = if name == "-" {
            read(std::io::stdin().lock(), 0)
        } else {
            let length = |file: &std::fs::File| file.metadata().map_or(0, |facts| facts.len());
            std::fs::File::open(path).and_then(|file| read(&file, length(&file)))
        };
        let name = if name == "-" { "<stdin>".to_owned() } else { name };
        match bytes {
            Ok(bytes) => Ok(Input { name, bytes }),
            Err(error) => Err(Failure::system(format!("cannot read {name}"), error)),
        }
    });
    let inputs = inputs.collect::<Result<_, _>>()?;
    Ok(check(inputs, dialect))
}

/// One byte more than a document may have shows that it has too many.
fn read(input: impl Read, expected: u64) -> std::io::Result<Vec<u8>> {
    let longest = MAXIMUM_BYTES as u64 + 1;
    // Room for one byte more: only then the end is seen without growing.
    let expected = expected.saturating_add(1).min(longest);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    input.take(longest).read_to_end(&mut bytes)?;
    Ok(bytes)
}
