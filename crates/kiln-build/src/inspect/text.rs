//! A report for people: headings, aligned columns, sizes in powers of 1024.
//!
//! Never meant to be parsed; that is the JSON form. Names come from files of unknown origin and end
//! up on a terminal, so control characters are replaced here, in the one place that all text takes.

use super::boot_file::BootFileFacts;
use super::disk::{DiskFacts, EspFacts, SlotFacts};
use super::iso::IsoFacts;
use super::root::RootFacts;
use super::{Contents, Report};
use crate::format_size;

/// The report as text, with a line feed at its end.
#[must_use]
pub fn to_text(report: &Report) -> String {
    let mut page = Page::default();
    let length = format_size(report.file.length);
    match &report.contents {
        Contents::Iso(iso) => iso_text(&mut page, iso, &length),
        Contents::Disk(disk) => {
            let medium = report.file.medium.map_or(String::new(), |medium| format!(" as {medium}"));
            let mut rows = vec![field("File", format!("disk{medium}, {length}"))];
            if let Some(qcow2) = &report.file.qcow2 {
                rows.push(field(
                    "qcow2",
                    format!(
                        "version {}, clusters of {}, virtual size {}, {} snapshots",
                        qcow2.version,
                        format_size(qcow2.cluster_length),
                        format_size(qcow2.virtual_length),
                        qcow2.snapshots
                    ),
                ));
            }
            disk_text(&mut page, rows, disk);
        }
        Contents::Root(root) => {
            page.columns(&[field("File", format!("root image, {length}"))], &[]);
            root_text(&mut page, root, Vec::new());
        }
        Contents::BootFile(boot_file) => {
            page.columns(&[field("File", format!("boot file, {length}"))], &[]);
            boot_file_text(&mut page, boot_file);
            page.heading("Sections");
            let rows: Vec<_> = boot_file
                .sections
                .iter()
                .map(|section| vec![section.name.clone(), format_size(section.length)])
                .collect();
            page.columns(&rows, &[1]);
        }
    }
    page.text
}

fn iso_text(page: &mut Page, iso: &IsoFacts, length: &str) {
    let mut rows = vec![field("File", format!("ISO image, {length}"))];
    for (name, value) in [
        ("Label", &iso.volume_id),
        ("System", &iso.system_id),
        ("Application", &iso.application_id),
        ("Publisher", &iso.publisher),
        ("Modified", &iso.modified),
    ] {
        if !value.is_empty() {
            rows.push(field(name, value.clone()));
        }
    }
    let joliet = if iso.joliet { ", Joliet beside" } else { "" };
    rows.push(field("Names", format!("{}{joliet}", iso.names)));
    rows.extend(iso.problems.iter().map(|problem| field("Problem", problem.clone())));
    page.columns(&rows, &[]);
    page.heading("Boot entries of the CD");
    let rows = iso.boot_entries.iter().map(|entry| {
        vec![
            entry.platform.to_owned(),
            if entry.bootable { "bootable" } else { "not bootable" }.to_owned(),
            format_size(entry.offset),
            entry.file.clone().unwrap_or_default(),
        ]
    });
    page.columns(&rows.collect::<Vec<_>>(), &[2]);
    if let Some(customization) = &iso.customization {
        page.heading("Customization");
        let documents = match customization.documents.is_empty() {
            true => "none".to_owned(),
            false => customization.documents.join(", "),
        };
        let arguments = match &*customization.arguments {
            "" => "none".to_owned(),
            arguments => arguments.to_owned(),
        };
        let mut rows = vec![field("Arguments", arguments), field("Documents", documents)];
        rows.extend(customization.problem.iter().map(|problem| field("Problem", problem.clone())));
        page.columns(&rows, &[]);
    }
    page.heading(&format!("Files ({})", iso.file_count));
    let rows = iso.files.iter().map(|file| match &file.target {
        Some(target) => vec![format!("{} -> {target}", file.path), String::new()],
        None => vec![file.path.clone(), format_size(file.length)],
    });
    page.columns(&rows.collect::<Vec<_>>(), &[1]);
    if let Some(disk) = &iso.disk {
        page.heading("The same bytes as a disk");
        disk_text(page, Vec::new(), disk);
    }
}

fn disk_text(page: &mut Page, mut rows: Vec<Vec<String>>, disk: &DiskFacts) {
    let copies = if disk.tables_agree { "both copies agree" } else { "the copies differ" };
    rows.push(field(
        "Table",
        format!("GPT, sectors of {} bytes, {} copy, {copies}", disk.sector_size, disk.table),
    ));
    page.columns(&rows, &[]);
    page.heading("Partitions");
    let mut rows = vec![["No", "Name", "Type", "Size", "Start"].map(str::to_owned).to_vec()];
    rows.extend(disk.partitions.iter().map(|partition| {
        vec![
            partition.number.to_string(),
            partition.name.clone(),
            partition.kind.to_owned(),
            format_size(partition.length),
            format_size(partition.start),
        ]
    }));
    page.columns(&rows, &[0, 3, 4]);
    if let Some(esp) = &disk.esp {
        esp_text(page, esp);
    }
    for slot in &disk.slots {
        slot_text(page, slot);
    }
}

fn esp_text(page: &mut Page, esp: &EspFacts) {
    page.heading(&format!("ESP (partition {})", esp.partition));
    if let Some(problem) = &esp.problem {
        page.columns(&[field("Problem", problem.clone())], &[]);
    }
    let files = esp.files.iter().map(|file| vec![file.path.clone(), format_size(file.length)]);
    page.columns(&files.collect::<Vec<_>>(), &[1]);
    for boot_file in &esp.boot_files {
        page.heading(&format!("Boot file {}", boot_file.path));
        if let Some(problem) = &boot_file.problem {
            page.columns(&[field("Problem", problem.clone())], &[]);
        }
        if let Some(facts) = &boot_file.facts {
            boot_file_text(page, facts);
        }
    }
}

fn slot_text(page: &mut Page, slot: &SlotFacts) {
    page.heading(&format!("Slot {} (partition {})", slot.name, slot.partition));
    let mut rows: Vec<_> = slot
        .named_by
        .iter()
        .map(|named| {
            let verdict = if named.top_block_agrees { "agrees" } else { "does NOT agree" };
            field("Boot file", format!("{}: top hash block {verdict}", named.path))
        })
        .collect();
    if rows.is_empty() {
        rows.push(field("Boot file", "none names it".to_owned()));
    }
    rows.extend(slot.problem.iter().map(|problem| field("Problem", problem.clone())));
    match &slot.root {
        Some(root) => root_text(page, root, rows),
        None => page.columns(&rows, &[]),
    }
}

fn root_text(page: &mut Page, root: &RootFacts, mut rows: Vec<Vec<String>>) {
    let unknown = || "unknown".to_owned();
    let (release, erofs, verity) = (&root.release, &root.erofs, &root.verity);
    rows.push(field("Release", release.title.clone().unwrap_or_else(unknown)));
    rows.push(field("Name", release.name.clone().unwrap_or_else(unknown)));
    rows.push(field("Version", release.version.clone().unwrap_or_else(unknown)));
    rows.push(field(
        "EROFS",
        format!("{}, {}, {} inodes", erofs.codec, format_size(erofs.length), erofs.inodes),
    ));
    rows.push(field(
        "Contents",
        format!(
            "{} in {} files; {} directories, {} symbolic links",
            format_size(erofs.content_length),
            erofs.files,
            erofs.directories,
            erofs.symbolic_links
        ),
    ));
    let fits = if verity.fits { "" } else { ", but the file ends before" };
    rows.push(field(
        "Verity",
        format!(
            "{} data blocks, {} of hashes behind them{fits}",
            verity.data_blocks,
            format_size(verity.hash_length)
        ),
    ));
    page.columns(&rows, &[]);
    if root.largest_directories.is_empty() {
        return;
    }
    page.heading("Largest directories");
    let rows = root.largest_directories.iter();
    let rows = rows.map(|facts| vec![format_size(facts.length), facts.path.clone()]);
    page.columns(&rows.collect::<Vec<_>>(), &[0]);
}

fn boot_file_text(page: &mut Page, facts: &BootFileFacts) {
    let unknown = || "unknown".to_owned();
    let signed = if facts.signed { "signed" } else { "not signed" };
    let mut rows = vec![
        field("Title", facts.title.clone().unwrap_or_else(unknown)),
        field("Kernel", facts.kernel.clone().unwrap_or_else(unknown)),
        field("Program", format!("{}, {signed}", facts.architecture.unwrap_or("unknown"))),
    ];
    rows.extend(facts.mode.iter().map(|mode| field("Mode", mode.clone())));
    if let Some(root) = &facts.root {
        rows.push(field("Root hash", root.hash.clone()));
        rows.push(field("Data blocks", root.data_blocks.to_string()));
        rows.push(field("Salt", root.salt.clone()));
    }
    rows.extend(facts.problem.iter().map(|problem| field("Problem", problem.clone())));
    rows.extend(facts.command_line.iter().map(|line| field("Arguments", line.clone())));
    page.columns(&rows, &[]);
}

fn field(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

/// Text that grows.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, text: &str) {
        self.text.push_str(&format!("\n{}\n", printable(text)));
    }

    /// Rows in aligned columns, those in `right` to the right.
    fn columns(&mut self, rows: &[Vec<String>], right: &[usize]) {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                let (before, behind) =
                    if right.contains(&column) { (&*padding, "") } else { ("", &*padding) };
                line.push_str(&format!("  {before}{cell}{behind}"));
            }
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '.' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::Page;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let mut page = Page::default();
        page.heading("a\x1b[2Jb");
        let rows = [["1", "long name", "9 B"], ["20", "ä\n", "10 B"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        page.columns(&rows, &[0, 2]);
        assert_eq!(page.text, "\na.[2Jb\n   1  long name   9 B\n  20  ä.         10 B\n");
    }
}
