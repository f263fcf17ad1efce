//! `cargo xtask bench upgrade`: a machine gets Debian's updates, beside the tools that would fetch
//! them otherwise.
//!
//! Two updates are real ones: everything since the last point release, the kernel included, and
//! everything but the kernel. Each comes from a pushed release and from the bare container image; the
//! others are `skopeo copy`, which only fetches the image and makes nothing of it, and a download of
//! the whole compressed root into a slot, as updaters of whole images do. No virtual machine runs: an
//! emulated processor would be measured with it.

mod changed;
mod images;
mod interrupt;
mod laboratory;
mod report;
mod run;
mod written;

use std::fs;
use std::path::PathBuf;

use kiln_lab::{Cache, Oracle};
use serde_json::{Value, json};

use super::BenchArguments;
use super::build::binary;
use super::table::{self, Goal};
use crate::error::{Error, file_error};
use crate::run::root;

use changed::Changed;
use images::NEW;
use interrupt::{Interruption, interrupt};
use laboratory::{EDGE, IMAGES, Laboratory, Release, boot_file_length, renew};
use report::Update;
use run::{Sample, Series, measure, output, pinned, unexpected};
use written::Written;

/// The contenders, in the order in which they run.
const PUSHED: &str = "kiln, pushed release";
const LAYERS: &str = "kiln, container image";
const SKOPEO: &str = "skopeo copy";
const WHOLE: &str = "whole image, curl";

/// Programs that contenders are or need.
const PROGRAMS: [&str; 7] = ["curl", "fsck.erofs", "skopeo", "strace", "taskset", "time", "zstd"];

/// Takes all figures and prints them.
pub(super) fn upgrade(arguments: &BenchArguments) -> Result<(), Error> {
    for program in PROGRAMS {
        Oracle::new(program).require()?;
    }
    let cache = Cache::open()?;
    println!("taking three Debian systems from the cache, or bootstrapping them: up to 5 minutes");
    let kiln: PathBuf = binary()?;
    let work = root().join("target/bench-upgrade");
    renew(&work)?;
    let laboratory = Laboratory::new(kiln, work.clone(), &cache)?;
    println!("one processor for each contender, medians of {} rounds\n", arguments.rounds);
    let (mut values, mut goals) = (Vec::new(), Vec::new());
    for image in NEW {
        let release = laboratory.release(&cache, image)?;
        let update = update(&laboratory, &release, arguments)?;
        println!("{}", update.table());
        goals.extend(update.goals());
        values.push(update.to_json());
    }
    println!("{}", table::goals(&goals));
    write(arguments, &values, &goals)?;
    fs::remove_dir_all(&work).map_err(file_error("remove", &work))
}

fn write(arguments: &BenchArguments, values: &[Value], goals: &[Goal]) -> Result<(), Error> {
    let Some(path) = &arguments.json else { return Ok(()) };
    let path = match arguments.name {
        super::Name::All => path.with_extension("upgrade.json"),
        _ => path.clone(),
    };
    let report = json!({ "updates": values, "goals": table::goals_json(goals) });
    fs::write(&path, format!("{report:#}\n")).map_err(file_error("write", &path))
}

/// Takes the figures of one update.
fn update(
    laboratory: &Laboratory,
    release: &Release,
    arguments: &BenchArguments,
) -> Result<Update, Error> {
    let old = &laboratory.old;
    let tag = release.tag;
    let changed = release.contents.changed(&old.contents, &laboratory.work.join("changed"))?;
    if changed.count == 0 {
        let text = "the archive has no updates since its last point release".to_owned();
        return Err(unexpected("the pair of images", text));
    }
    let whole = laboratory.whole(release)?;
    let contenders = [
        (PUSHED, laboratory.upgrade(EDGE, tag, None)),
        (LAYERS, laboratory.upgrade(IMAGES, tag, None)),
        (SKOPEO, laboratory.skopeo(tag)),
        (WHOLE, whole),
    ];
    let mut all: Vec<Series> =
        contenders.iter().map(|(name, _)| Series { name, samples: Vec::new() }).collect();
    for _ in 0..arguments.rounds {
        for ((_, words), series) in contenders.iter().zip(&mut all) {
            series.samples.push(one_run(laboratory, words)?);
        }
    }
    let record = |words: &[String]| {
        laboratory.restore()?;
        let (folder, log) = (laboratory.machine.path(), laboratory.work.join("record"));
        written::record(words, folder, release.tree_offset()?, &log)
    };
    let written = [record(&contenders[0].1)?, record(&contenders[1].1)?];
    let interrupted =
        [interrupt(laboratory, &contenders[0].1)?, interrupt(laboratory, &contenders[1].1)?];
    let (activated, running) = checks(laboratory, release)?;
    laboratory.forget_contents()?;
    let rebuilt = one_run(laboratory, &contenders[0].1)?;
    laboratory.machine.fill_slot(0)?;
    Ok(Update {
        tag,
        kernels: [old.kernel()?, release.kernel()?],
        root: release.root_length()?,
        boot_file: boot_file_length(release)?,
        length: release.contents.length,
        changed,
        table: release.table_length(),
        sections: release.new_sections(old),
        series: all,
        written,
        interrupted,
        requests: activated.max(running),
        rebuilt,
    })
}

/// One run on a machine that was never upgraded.
fn one_run(laboratory: &Laboratory, words: &[String]) -> Result<Sample, Error> {
    laboratory.restore()?;
    laboratory.forget_copy()?;
    let figures = laboratory.work.join("figures");
    let (sample, said) = measure(words, &laboratory.registry, &figures)?;
    expect_activated(words, said)?;
    Ok(sample)
}

/// What `kiln upgrade` says must be that it did something; others say nothing.
fn expect_activated(words: &[String], said: String) -> Result<(), Error> {
    let is_upgrade = words.iter().any(|word| word == "upgrade");
    let outcome: Value = serde_json::from_str(&said).unwrap_or_default();
    if is_upgrade && outcome["outcome"] != "activated" {
        return Err(unexpected("what kiln upgrade says", said));
    }
    Ok(())
}

/// Requests of a check on a machine that has the release, before its restart and after it.
fn checks(laboratory: &Laboratory, release: &Release) -> Result<(usize, usize), Error> {
    laboratory.restore()?;
    output(&mut pinned(&laboratory.upgrade(EDGE, release.tag, None)))?;
    let words = laboratory.upgrade(EDGE, release.tag, Some("--check"));
    let check = || {
        laboratory.registry.forget_requests();
        let said = output(&mut pinned(&words))?;
        let outcome: Value = serde_json::from_str(&said).unwrap_or_default();
        if outcome["outcome"] != "nothing" {
            return Err(unexpected("what kiln upgrade --check says", said));
        }
        Ok(laboratory.registry.requests().len())
    };
    let activated = check()?;
    laboratory.restart(release)?;
    Ok((activated, check()?))
}
