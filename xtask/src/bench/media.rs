//! `cargo xtask bench media`: every format of a disk, beside the same from a raw disk by qemu-img.
//!
//! Both sides are whole: from the container image to the file. Kiln writes the format at once; the
//! others build the raw disk with Kiln and convert it. Their difference is the format alone, since
//! all else is the same program on the same image. Formats that qemu-img does not know have the
//! programs that their clouds' documentation names: tar with gzip, and zstd.
//!
//! Only wall time and lengths are taken: a pipeline of two programs has no peak of its own.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use kiln_lab::debian::Debian;
use kiln_lab::{Cache, WorkDirectory};
use serde_json::{Value, json};

use super::build::binary;
use super::measure::{length, median, taken};
use super::{BenchArguments, Name};
use crate::error::{Error, file_error};
use crate::run;

/// Name of what is built.
const NAME: &str = "bench";

/// The share of its rival's time that compressed qcow2 may take, by the issue.
const QCOW2_LIMIT: f64 = 1.0;

/// A format, the file that it makes, and how the others make it from `bench.raw` in their folder.
struct Contender {
    format: &'static str,
    file: &'static str,
    rival: &'static str,
    convert: &'static str,
    limit: Option<f64>,
}

const CONTENDERS: [Contender; 6] = [
    Contender {
        format: "qcow2",
        file: "bench.qcow2",
        rival: "raw, qemu-img convert -c",
        convert: "qemu-img convert -c -O qcow2 bench.raw other",
        limit: Some(QCOW2_LIMIT),
    },
    Contender {
        format: "vmdk",
        file: "bench.vmdk",
        rival: "raw, qemu-img convert",
        convert: "qemu-img convert -O vmdk -o subformat=streamOptimized bench.raw other",
        limit: None,
    },
    Contender {
        format: "ova",
        file: "bench.ova",
        rival: "the same, tar",
        convert: "qemu-img convert -O vmdk -o subformat=streamOptimized bench.raw disk.vmdk &&
            sha256sum disk.vmdk > other.mf && tar -cf other other.mf disk.vmdk",
        limit: None,
    },
    Contender {
        format: "vhd",
        file: "bench.vhd",
        rival: "raw, qemu-img convert",
        convert: "qemu-img convert -O vpc -o subformat=fixed,force_size bench.raw other",
        limit: None,
    },
    Contender {
        format: "gce",
        file: "bench.gce.tar.gz",
        rival: "raw, tar -S and gzip",
        convert: "tar --format=oldgnu -S -czf other bench.raw",
        limit: None,
    },
    Contender {
        format: "raw.zst",
        file: "bench.raw.zst",
        rival: "raw, zstd -T0",
        convert: "zstd -q -T0 -3 bench.raw -o other",
        limit: None,
    },
];

/// What one side took: seconds of every round, and bytes of the file.
#[derive(Debug, Default)]
struct Side {
    walls: Vec<f64>,
    length: u64,
    taken: u64,
}

impl Side {
    fn wall(&self) -> f64 {
        median(self.walls.iter().copied())
    }

    fn json(&self) -> Value {
        json!({ "wall": self.wall(), "walls": self.walls, "length": self.length, "taken": self.taken })
    }
}

/// Takes the figures.
pub(super) fn media(arguments: &BenchArguments) -> Result<(), Error> {
    let contenders: Vec<&Contender> =
        CONTENDERS.iter().filter(|contender| arguments.is_wanted(contender.format)).collect();
    if contenders.is_empty() && arguments.name == Name::All {
        // `--only` chose one of the other bench.
        return Ok(());
    }
    if contenders.is_empty() {
        return Err(Error::NoContender { only: arguments.only.join(",") });
    }
    let cache = Cache::open()?;
    let debian = Debian::get(&cache)?;
    let source = format!("oci-archive:{}", debian.image().display());
    let kiln = binary()?;
    let mut plain = Side::default();
    let mut sides: Vec<(Side, Side)> = contenders.iter().map(|_| Default::default()).collect();
    // The first round fills the page cache and is not counted.
    for round in 0..=arguments.rounds {
        let work = WorkDirectory::new("bench-media")?;
        let wall = build(&kiln, &source, "raw", work.path())?;
        note(&mut plain, round, wall, &work.path().join("bench.raw"))?;
        for (contender, (ours, theirs)) in contenders.iter().zip(&mut sides) {
            let work = WorkDirectory::new("bench-media")?;
            let wall = build(&kiln, &source, contender.format, work.path())?;
            note(ours, round, wall, &work.path().join(contender.file))?;
            let work = WorkDirectory::new("bench-media")?;
            let wall = build(&kiln, &source, "raw", work.path())?
                + timed(Command::new("sh").args(["-c", contender.convert]), work.path())?;
            note(theirs, round, wall, &work.path().join("other"))?;
        }
        println!("media: round {round} of {}", arguments.rounds);
    }
    println!("{}", table(&plain, &contenders, &sides));
    if let Some(path) = &arguments.json {
        // With `all` the name itself is the other bench's.
        let path = match arguments.name {
            Name::All => path.with_extension("media.json"),
            _ => path.clone(),
        };
        let of = |(contender, (ours, theirs)): (&&Contender, &(Side, Side))| {
            json!({ "format": contender.format, "kiln": ours.json(), "rival": contender.rival,
                    "other": theirs.json() })
        };
        let formats: Vec<Value> = contenders.iter().zip(&sides).map(of).collect();
        let report = json!({ "bench": "media", "raw": plain.json(), "formats": formats });
        std::fs::write(&path, format!("{report:#}\n")).map_err(file_error("write", &path))?;
    }
    Ok(())
}

/// Builds one format and returns the seconds.
fn build(kiln: &Path, source: &str, format: &str, folder: &Path) -> Result<f64, Error> {
    let mut command = Command::new(kiln);
    command.args(["-q", "build", source, "-f", format, "--name", NAME, "-o", "."]);
    timed(&mut command, folder)
}

/// Runs a command in a folder after everything before it is written back, and returns the seconds.
fn timed(command: &mut Command, folder: &Path) -> Result<f64, Error> {
    run::captured(&mut Command::new("sync"))?;
    let start = Instant::now();
    let (succeeded, output) = run::captured(command.current_dir(folder))?;
    if succeeded {
        return Ok(start.elapsed().as_secs_f64());
    }
    Err(Error::Lab(kiln_lab::Error::Tool {
        command: format!("{command:?}"),
        status: "an error".to_owned(),
        output,
    }))
}

fn note(side: &mut Side, round: u16, wall: f64, file: &Path) -> Result<(), Error> {
    if round > 0 {
        side.walls.push(wall);
    }
    side.length = length(file)?;
    side.taken = taken(file)?;
    Ok(())
}

/// Seconds and sizes, and what became of the goal.
fn table(plain: &Side, contenders: &[&Contender], sides: &[(Side, Side)]) -> String {
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let mut lines = vec![
        format!(
            "{:<10}{:>9}{:>9}  {:<26}{:>9}{:>9}{:>8}  goal",
            "kiln -f", "wall s", "MB", "instead", "wall s", "MB", "ratio"
        ),
        format!("{:<10}{:>9.2}{:>9}", "raw", plain.wall(), megabytes(plain.taken)),
    ];
    for (contender, (ours, theirs)) in contenders.iter().zip(sides) {
        let ratio = ours.wall() / theirs.wall();
        let verdict = match contender.limit {
            None => "-".to_owned(),
            Some(limit) => {
                format!("{limit:.2} {}", if ratio <= limit { "ok" } else { "missed" })
            }
        };
        lines.push(format!(
            "{:<10}{:>9.2}{:>9}  {:<26}{:>9.2}{:>9}{:>8.2}  {verdict}",
            contender.format,
            ours.wall(),
            megabytes(ours.taken),
            contender.rival,
            theirs.wall(),
            megabytes(theirs.taken),
            ratio,
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_medians() {
        let side = |walls: &[f64]| Side { walls: walls.to_vec(), length: 9, taken: 5_000_000 };
        for (ours, verdict) in [(&[1.0, 9.0, 1.2][..], "ok"), (&[2.5, 2.4, 0.1], "missed")] {
            let sides = [(side(ours), side(&[2.0]))];
            let text = table(&side(&[1.0]), &[&CONTENDERS[0]], &sides);
            assert!(text.ends_with(&format!("1.00 {verdict}")), "{text}");
            assert!(text.contains("5.0"), "{text}");
        }
    }
}
