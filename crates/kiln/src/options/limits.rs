//! `--max-…`: bounds against hostile or broken images.
//!
//! The defaults are those of the crates that keep them, and a test holds the texts here to them.

use clap::Args;
use kiln_build::{ReadOptions, parse_size};

/// The heading of these arguments, by which the reference finds them.
pub(crate) const HEADING: &str = "Limits";

/// Bounds on what is read.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct LimitArguments {
    /// Most entries of all layers together, hidden ones included
    #[arg(long, value_name = "N", default_value = "2000000")]
    max_entries: u64,
    /// Longest path in the image, in bytes
    #[arg(long, value_name = "BYTES", default_value = "4096",
          value_parser = clap::value_parser!(u16).range(1..))]
    max_path_length: u16,
    /// Most bytes of all files of all layers together, unpacked
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "64GiB")]
    max_total_size: u64,
    /// Most bytes of one file
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "32GiB")]
    max_file_size: u64,
    /// Most unpacked bytes for each stored byte of a layer; up to 64MiB of a layer are free
    #[arg(long, value_name = "N", default_value = "1000",
          value_parser = clap::value_parser!(u64).range(1..))]
    max_ratio: u64,
    /// Accept device nodes outside /dev
    #[arg(long)]
    allow_device_nodes: bool,
}

impl LimitArguments {
    /// Puts the bounds where they are kept.
    pub(crate) fn apply(&self, options: &mut ReadOptions) {
        options.limits.entries = self.max_entries;
        options.limits.path_bytes = usize::from(self.max_path_length);
        options.limits.total_bytes = self.max_total_size;
        options.limits.file_bytes = self.max_file_size;
        options.limits.device_nodes = self.allow_device_nodes;
        let registry = &mut options.registry.limits;
        registry.max_uncompressed_ratio = self.max_ratio;
        // A layer is stored in one blob; who allows larger trees must get larger blobs.
        registry.max_blob_bytes = registry.max_blob_bytes.max(self.max_total_size);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        limits: LimitArguments,
    }

    fn applied(words: &[&str]) -> ReadOptions {
        let mut options = ReadOptions::default();
        Only::parse_from(["kiln"].iter().chain(words)).limits.apply(&mut options);
        options
    }

    #[test]
    fn the_defaults_are_those_of_the_crates() {
        let (options, expected) = (applied(&[]), ReadOptions::default());
        assert_eq!(options.limits, expected.limits);
        assert_eq!(options.registry.limits, expected.registry.limits);
        assert_eq!(expected.registry.limits.free_uncompressed_bytes, 64 << 20, "told in the help");
    }

    #[test]
    fn each_flag_reaches_its_limit() {
        let options = applied(&[
            "--max-entries=7",
            "--max-path-length=70",
            "--max-total-size=1T",
            "--max-file-size=9M",
            "--max-ratio=5",
            "--allow-device-nodes",
        ]);
        assert!(options.limits.device_nodes);
        assert_eq!(options.limits.entries, 7);
        assert_eq!(options.limits.path_bytes, 70);
        assert_eq!(options.limits.total_bytes, 1 << 40);
        assert_eq!(options.limits.file_bytes, 9 << 20);
        assert_eq!(options.registry.limits.max_uncompressed_ratio, 5);
        assert_eq!(options.registry.limits.max_blob_bytes, 1 << 40);
    }
}
