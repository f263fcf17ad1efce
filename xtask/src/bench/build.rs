//! `cargo xtask bench build`: from a container image to a disk, beside the tools for its parts.
//!
//! The contenders run in turn, round by round, so that a slow minute of the computer hits all of
//! them. The first round is not counted: it fills the page cache. What a contender wrote is removed
//! and written back before the next one starts.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use kiln_lab::Cache;
use kiln_lab::product::VARIABLE;
use serde_json::{Value, json};

use super::BenchArguments;
use super::contenders::{self, Contender, Root};
use super::measure::{self, measure};
use super::table::{self, Goal, MEBIBYTE, Result as Figures};
use super::tools::{self, BENCH, Tools};
use super::trees::{Tree, TreeName};
use crate::error::{Error, file_error};
use crate::{product, run};

/// Bytes of an EROFS block in Kiln's images; `data_blocks` of a release counts them.
const ROOT_BLOCK: u64 = 4096;

/// Most memory of a build in MiB, by the issue.
const MEMORY_LIMIT: f64 = 300.0;
/// Longest binary in MiB, by the issue.
const BINARY_LIMIT: f64 = 30.0;
/// Longest initramfs for virtual machines in MiB, by the issue.
const INITRAMFS_LIMIT: f64 = 1.5;

/// Codecs whose memory is looked at with very many entries.
const MANY_CODECS: [(&str, &str); 2] =
    [("kiln lz4, many entries", "lz4"), ("kiln zstd:3, many entries", "zstd:3")];

/// Takes all figures and prints them.
pub(super) fn build(arguments: &BenchArguments) -> Result<(), Error> {
    if !tools::is_inside() {
        return tools::run_inside(&words(arguments));
    }
    let cache = Cache::open()?;
    println!("taking tools and trees from the cache, or bootstrapping them: up to 15 minutes");
    let tools = Tools::get(&cache)?;
    let kiln = binary()?;
    tools.bind(&kiln, &format!("{BENCH}/kiln"))?;
    let work = run::root().join("target/bench");
    renew(&work)?;
    tools.bind(&work, &format!("{BENCH}/scratch"))?;
    renew(&work.join("temporary"))?;

    let versions = tools.versions()?;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("\n{processors} processors, medians of {} rounds\n{versions}", arguments.rounds);
    let mut bench = Bench { tools: &tools, arguments, failures: 0, goals: Vec::new() };
    let mut trees = Vec::new();
    for name in TreeName::ALL {
        if arguments.tree.is_none_or(|only| only == name) {
            trees.push(bench.tree(&cache, name)?);
        }
    }
    if bench.arguments.is_wanted("kiln") {
        trees.push(bench.many(&cache)?);
        bench.lengths(&kiln)?;
    }
    let goals = table::goals(&bench.goals);
    println!("{goals}");
    if let Some(path) = &arguments.json {
        let report = json!({
            "processors": processors,
            "versions": versions.lines().collect::<Vec<_>>(),
            "trees": trees,
            "goals": table::goals_json(&bench.goals),
        });
        fs::write(path, format!("{report:#}\n")).map_err(file_error("write", path))?;
    }
    let count = bench.failures;
    fs::remove_dir_all(work.join("out")).map_err(file_error("remove", &work))?;
    if count > 0 { Err(Error::Contenders { count }) } else { Ok(()) }
}

/// The binary that `$KILN_BIN` names, as in the tests, or a fresh release build.
pub(super) fn binary() -> Result<PathBuf, Error> {
    match std::env::var_os(VARIABLE) {
        Some(path) => Ok(PathBuf::from(path)),
        None => product::build(),
    }
}

/// The arguments as they were typed, for the process with its own mounts.
fn words(arguments: &BenchArguments) -> Vec<String> {
    let mut words = vec!["bench".to_owned(), "build".to_owned()];
    words.push(format!("--rounds={}", arguments.rounds));
    words.extend(arguments.only.iter().map(|only| format!("--only={only}")));
    words.extend(arguments.tree.iter().map(|tree| format!("--tree={}", tree.text())));
    words.extend(arguments.json.iter().map(|path| format!("--json={}", path.display())));
    words
}

/// Who runs how often.
#[derive(Debug, Clone, Copy)]
struct Rounds {
    /// Rounds whose figures count, from the first on.
    counted: u16,
    /// Whether a round 0 goes before them.
    warm_up: bool,
    /// Whether those that no goal speaks of run in the first round alone.
    once_unless_judged: bool,
}

impl Rounds {
    fn includes(self, round: u16, name: &str) -> bool {
        !self.once_unless_judged || round == 1 || contenders::is_judged(name)
    }
}

/// What the parts of a run share.
struct Bench<'a> {
    tools: &'a Tools,
    arguments: &'a BenchArguments,
    failures: usize,
    goals: Vec<Goal>,
}

impl Bench<'_> {
    /// All contenders on one tree.
    fn tree(&mut self, cache: &Cache, name: TreeName) -> Result<Value, Error> {
        let tree = Tree::get(cache, self.tools, name)?;
        let mut contenders = contenders::prepare(self.tools, &tree, name)?;
        contenders.retain(|contender| self.arguments.is_wanted(contender.name));
        if contenders.is_empty() {
            let only = self.arguments.only.join(",");
            return Err(Error::NoContender { only });
        }
        let image = measure::length(&tree.folder().join("image.tar"))?;
        println!(
            "{}: {} entries, {:.1} MB of files, image {:.1} MB",
            name.text(),
            tree.entries,
            tree.length as f64 / 1e6,
            image as f64 / 1e6
        );
        let plan = Rounds {
            counted: self.arguments.rounds,
            warm_up: true,
            // The slow ones of them would take most of an hour.
            once_unless_judged: name == TreeName::Large,
        };
        let results = self.rounds(&contenders, plan)?;
        println!("{}", table::table(&results));
        self.goals.extend(table::ratios(name.text(), &results));
        Ok(json!({
            "name": name.text(),
            "length": tree.length,
            "entries": tree.entries,
            "contenders": table::results_json(&results),
        }))
    }

    /// The memory for a tree of very many entries.
    fn many(&mut self, cache: &Cache) -> Result<Value, Error> {
        let tree = Tree::many(cache, self.tools)?;
        let folder = format!("{BENCH}/many");
        self.tools.bind(&tree.folder(), &folder)?;
        println!("many: {} entries, {:.1} MB of files", tree.entries, tree.length as f64 / 1e6);
        let contenders = MANY_CODECS.map(|(name, codec)| Contender {
            name,
            words: contenders::kiln(&folder, codec, &format!("{BENCH}/scratch/out")),
            root: Root::Release,
            disk: Some("bench.raw"),
        });
        let plan = Rounds { counted: 1, warm_up: false, once_unless_judged: false };
        let results = self.rounds(&contenders, plan)?;
        println!("{}", table::table(&results));
        for result in results.iter().filter(|result| result.failure.is_none()) {
            self.goals.push(Goal {
                sentence: format!("peak memory, {}", result.name),
                limit: Some(MEMORY_LIMIT),
                reached: result.peak() as f64 / MEBIBYTE,
                unit: " [MiB]",
            });
        }
        Ok(json!({
            "name": "many",
            "length": tree.length,
            "entries": tree.entries,
            "contenders": table::results_json(&results),
        }))
    }

    /// Round by round; a contender that failed once is left out of later rounds.
    fn rounds(&mut self, contenders: &[Contender], plan: Rounds) -> Result<Vec<Figures>, Error> {
        let mut results: Vec<Figures> = contenders
            .iter()
            .map(|contender| Figures {
                name: contender.name,
                runs: Vec::new(),
                root: None,
                disk: None,
                failure: None,
            })
            .collect();
        let out = self.tools.outside(&format!("{BENCH}/scratch/out"));
        let first = u16::from(!plan.warm_up);
        for round in first..=plan.counted {
            for (contender, result) in contenders.iter().zip(&mut results) {
                if result.failure.is_some() || !plan.includes(round, contender.name) {
                    continue;
                }
                renew(&out)?;
                progress(&format!("  round {round}: {}", contender.name));
                match measure(self.tools, &contender.words)? {
                    Ok(_) if round == 0 => {}
                    Ok(run) => result.runs.push(run),
                    Err(failure) => {
                        result.failure = Some(failure);
                        self.failures += 1;
                        continue;
                    }
                }
                result.root = root_length(contender.root, &out)?;
                result.disk =
                    contender.disk.map(|name| measure::taken(&out.join(name))).transpose()?;
            }
        }
        progress("");
        renew(&out)?;
        Ok(results)
    }

    /// Lengths of what is shipped and of what each boot reads.
    fn lengths(&mut self, kiln: &Path) -> Result<(), Error> {
        self.goals.push(Goal {
            sentence: "length of the binary".to_owned(),
            limit: Some(BINARY_LIMIT),
            reached: measure::length(kiln)? as f64 / MEBIBYTE,
            unit: " [MiB]",
        });
        let folder = match self.arguments.tree {
            Some(name) => name.text(),
            None => TreeName::Small.text(),
        };
        let out = format!("{BENCH}/scratch/out");
        let mut words = contenders::kiln(&format!("{BENCH}/{folder}"), "lz4", &out);
        words.extend(["--modules", "virtio"].map(str::to_owned));
        self.tools.run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        let boot_file = format!("{out}/bench.efi");
        let text = self.tools.run(&[&format!("{BENCH}/kiln"), "inspect", "--json", &boot_file])?;
        let length = initramfs_length(&text).ok_or(kiln_lab::Error::Unexpected {
            what: "the report of kiln inspect".to_owned(),
            text,
        })?;
        self.goals.push(Goal {
            sentence: format!("length of the initramfs virtio, {folder}"),
            limit: Some(INITRAMFS_LIMIT),
            reached: length as f64 / MEBIBYTE,
            unit: " [MiB]",
        });
        Ok(())
    }
}

/// Bytes of the section that holds the initramfs, in what `kiln inspect` says of a boot file.
fn initramfs_length(report: &str) -> Option<u64> {
    let report: Value = serde_json::from_str(report).ok()?;
    let sections = report["boot_file"]["sections"].as_array()?;
    sections.iter().find(|section| section["name"] == ".initrd")?["length"].as_u64()
}

/// Bytes of a root image without its hash tree.
fn root_length(root: Root, out: &Path) -> Result<Option<u64>, Error> {
    Ok(match root {
        Root::Hidden => None,
        Root::File(name) => Some(measure::length(&out.join(name))?),
        Root::Release => {
            let path = out.join("release.json");
            let text = fs::read_to_string(&path).map_err(file_error("read", &path))?;
            let release: Value = serde_json::from_str(&text).unwrap_or_default();
            release["root"]["data_blocks"].as_u64().map(|blocks| blocks * ROOT_BLOCK)
        }
    })
}

/// Shows on a terminal who is running; an empty text clears the line.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{text:60}\r");
    }
}

/// Makes an empty folder, removing what was there.
fn renew(folder: &PathBuf) -> Result<(), Error> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(file_error("remove", folder))?;
    }
    fs::create_dir_all(folder).map_err(file_error("create", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initramfs_is_found_in_a_report() {
        let report = r#"{"boot_file":{"sections":[{"name":".linux","length":9},
                         {"name":".initrd","length":7}]}}"#;
        assert_eq!(initramfs_length(report), Some(7));
        for other in ["", "{}", r#"{"boot_file":{"sections":[]}}"#] {
            assert_eq!(initramfs_length(other), None, "{other}");
        }
    }
}
