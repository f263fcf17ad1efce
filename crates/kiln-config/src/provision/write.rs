//! A plan as Kiln's YAML: what a section can say stands in its section, the rest under `operations`.
//!
//! Total: whatever the dialect a plan came from, reading the text gives the same plan but for the places.
//! So Kiln's YAML is also the common form in which a plan can be kept, compared and shown. Operations
//! of one place in the order stay together, either all in a section or none, else their order
//! would be lost.

use std::collections::BTreeSet;

use crate::action::{Action, Persistence};
use crate::operation::{Operation, Plan};
use crate::provision::contents::FileShape;
use crate::provision::disks::{DiskShape, FilesystemShape, LuksShape, RaidShape};
use crate::provision::order::place;
use crate::provision::records::{
    DirectoryShape, DnsShape, GroupShape, KernelArgumentsShape, LinkShape, ReportAddress,
    UnitShape, UserShape, VolumeShape,
};
use crate::provision::shape::{Holes, Many, Path, Shape, write_named};
use crate::provision::tree::Tree;
use crate::provision::{API_VERSION, KIND, contradictions, network, operations};

/// Sections in the order in which they are written.
const SECTIONS: [&str; 19] = [
    "disks",
    "raid",
    "luks",
    "filesystems",
    "volumes",
    "persist",
    "ephemeral",
    "groups",
    "users",
    "directories",
    "files",
    "links",
    "hostname",
    "dns",
    "units",
    "kernelArguments",
    "commands",
    "report",
    "operations",
];

/// The plan as a document.
pub(super) fn write(plan: &Plan) -> Tree {
    let mut plan = plan.clone();
    plan.sort();
    let mut sections: Vec<(&str, Vec<(String, Tree)>)> =
        SECTIONS.map(|name| (name, Vec::new())).into();
    let mut paths = BTreeSet::new();
    let place_of = |operation: &Operation| {
        (operation.stage.clone(), operation.document, operation.step, operation.rank)
    };
    for group in plan.operations.chunk_by(|one, other| place_of(one) == place_of(other)) {
        match in_section(group, &mut paths) {
            Some(entries) => {
                for (section, name, tree) in entries {
                    push(&mut sections, section, name, tree);
                }
            }
            None => {
                for operation in group {
                    push(&mut sections, "operations", String::new(), operations::write(operation));
                }
            }
        }
    }
    assemble(sections)
}

fn push(sections: &mut [(&str, Vec<(String, Tree)>)], section: &str, name: String, tree: Tree) {
    if let Some((_, entries)) = sections.iter_mut().find(|(known, _)| *known == section) {
        entries.push((name, tree));
    }
}

/// The entries of a group if a section can say all of it: section, name and value of each.
fn in_section(
    group: &[Operation],
    paths: &mut BTreeSet<String>,
) -> Option<Vec<(&'static str, String, Tree)>> {
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    let mut taken = Vec::new();
    for operation in group {
        let plain = operation.document == 0
            && operation.step == 0
            && operation.name.is_none()
            && operation.conditions.is_empty()
            && place(&operation.stage, &operation.action)
                == Some((operation.rank, operation.failure));
        if !plain {
            return None;
        }
        for (section, name, tree) in entry(operation)? {
            // Commands are a list, all else has a name that stands there once.
            if section != "commands" && !names.insert((section, name.clone())) {
                return None;
            }
            entries.push((section, name, tree));
        }
        if let Some(path) = contradictions::path(&operation.action) {
            if paths.contains(path) {
                return None;
            }
            taken.push(path.to_owned());
        }
    }
    paths.extend(taken);
    Some(entries)
}

/// Section, name and value of one operation.
fn entry(operation: &Operation) -> Option<Vec<(&'static str, String, Tree)>> {
    let one = |section, named: Option<(String, Tree)>| {
        named.map(|(name, tree)| vec![(section, name, tree)])
    };
    let whole = |section, tree| Some(vec![(section, String::new(), tree)]);
    match &operation.action {
        Action::Disk(disk) => one("disks", write_named::<DiskShape>(disk)),
        Action::Raid(raid) => one("raid", write_named::<RaidShape>(raid)),
        Action::Luks(luks) => one("luks", write_named::<LuksShape>(luks)),
        Action::Filesystem(system) => one("filesystems", write_named::<FilesystemShape>(system)),
        Action::Volume(volume) => one("volumes", write_named::<VolumeShape>(volume)),
        Action::Group(group) => one("groups", write_named::<GroupShape>(group)),
        Action::User(user) => one("users", write_named::<UserShape>(user)),
        Action::Directory(directory) => {
            one("directories", write_named::<DirectoryShape>(directory))
        }
        Action::File(file) => one("files", write_named::<FileShape>(file)),
        Action::Link(link) => one("links", write_named::<LinkShape>(link)),
        Action::Unit(unit) => one("units", write_named::<UnitShape>(unit)),
        Action::Hostname(name) if network::is_name(name) => whole("hostname", Holes::write(name)),
        Action::Dns(dns) => whole("dns", DnsShape::write(dns)),
        Action::KernelArguments(arguments) => {
            let both = |word: &String| arguments.should_not_exist.contains(word);
            if arguments.should_exist.iter().any(both) {
                return None;
            }
            whole("kernelArguments", KernelArgumentsShape::write(arguments))
        }
        Action::Persistence(persistence) => paths_of(persistence),
        Action::Report(address) => whole("report", ReportAddress::write(address)),
        Action::Command(command) => {
            let stage = operations::stage_word(&operation.stage)?;
            Some(vec![("commands", stage, Holes::write(&command.script))])
        }
        _ => None,
    }
}

fn paths_of(persistence: &Persistence) -> Option<Vec<(&'static str, String, Tree)>> {
    let Persistence { persist, ephemeral, .. } = persistence;
    let said = Persistence {
        persist: persist.clone(),
        ephemeral: ephemeral.clone(),
        ..Persistence::default()
    };
    let is_plain = said == *persistence && !persist.iter().any(|one| ephemeral.contains(one));
    let lists = [("persist", persist), ("ephemeral", ephemeral)];
    let is_said = |(name, list): &(&str, &Vec<String>)| {
        !list.is_empty() || (*name == "persist" && ephemeral.is_empty())
    };
    let section = |(name, list): (&'static str, &Vec<String>)| {
        (name, String::new(), Many::<Path>::write(list))
    };
    is_plain.then(|| lists.into_iter().filter(is_said).map(section).collect())
}

/// Puts the sections into a document.
fn assemble(sections: Vec<(&str, Vec<(String, Tree)>)>) -> Tree {
    let mut document = vec![
        ("apiVersion".to_owned(), Tree::text(API_VERSION)),
        ("kind".to_owned(), Tree::text(KIND)),
    ];
    let mut network = Vec::new();
    for (section, entries) in sections {
        if entries.is_empty() {
            continue;
        }
        let name = section.to_owned();
        let whole =
            |entries: Vec<(String, Tree)>| entries.into_iter().next_back().map(|(_, tree)| tree);
        match section {
            "hostname" | "dns" => network.extend(whole(entries).map(|tree| (name, tree))),
            "persist" | "ephemeral" | "kernelArguments" | "report" => {
                document.extend(whole(entries).map(|tree| (name, tree)));
            }
            "operations" => {
                let list = entries.into_iter().map(|(_, tree)| tree).collect();
                document.push((name, Tree::List(list)));
            }
            "commands" => {
                let mut stages: Vec<(String, Tree)> = Vec::new();
                for (stage, tree) in entries {
                    match stages.iter_mut().find(|(known, _)| *known == stage) {
                        Some((_, Tree::List(list))) => list.push(tree),
                        _ => stages.push((stage, Tree::List(vec![tree]))),
                    }
                }
                document.push((name, Tree::Map(stages)));
            }
            _ => document.push((name, Tree::Map(entries))),
        }
    }
    if !network.is_empty() {
        document.push(("network".to_owned(), Tree::Map(network)));
    }
    Tree::Map(document)
}
