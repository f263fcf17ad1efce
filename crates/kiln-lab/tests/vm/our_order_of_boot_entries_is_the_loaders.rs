//! Promise: what Kiln believes to start next is what systemd-boot starts, of every age from 252 on:
//! the order of its menu, what counts as bad, what it leaves out, and the name that it gives to what
//! it starts.
//!
//! Two starts of each loader, without any operating system.

use std::io::Write;

use kiln_boot::entry::{EntryName, Listed, sort};
use kiln_lab::boot_loader::{BootLoader, Choice, boot_file};
use kiln_lab::{Failure, WorkDirectory};

/// The suites of Debian that have the loaders: systemd 252, 257, and what is current.
const SUITES: [&str; 3] = ["bookworm", "trixie", "sid"];

/// Text of `.osrel` of Kiln's own boot files.
const SYSTEM: &str = "ID=kiln\nNAME=\"Edge\"\nPRETTY_NAME=\"Edge\"\n";
const RECOVERY: &str = "ID=kiln-recovery\nNAME=\"Edge\"\nPRETTY_NAME=\"Edge (recovery)\"\n";

/// File names and what is in `.osrel`, in no order. All differ in more than their counter, none has
/// an `ID=` without a value or with single quotes, no counted one has capitals, and the first in the menu is one of Kiln's.
const FILES: &[(&str, &str)] = &[
    ("kiln-00000009.efi", SYSTEM),
    ("kiln-00000100+3-0.efi", SYSTEM),
    ("kiln-00000010+2-1.efi", SYSTEM),
    ("kiln-00000011+0-3.efi", SYSTEM),
    ("kiln-recovery.efi", RECOVERY),
    ("kiln-00000012+0-3.EFI", SYSTEM),
    ("KILN-00000013.EFI", SYSTEM),
    // Names that are almost right.
    ("kiln-00000014+3.efi", SYSTEM),
    ("kiln-00000015+x.efi", SYSTEM),
    ("kiln-00000016+3-.efi", SYSTEM),
    ("kiln-00000017+1+0-2.efi", SYSTEM),
    ("kiln-00000018+0-3x.efi", SYSTEM),
    ("kiln-00000019+99999999999-0.efi", SYSTEM),
    ("kiln-00000020+00-3.efi", SYSTEM),
    ("kiln-00000021+0.efi", SYSTEM),
    ("kiln-00000022+0-10.efi", SYSTEM),
    ("kiln-00000023.efi.new", SYSTEM),
    ("kiln-00000024.staged", SYSTEM),
    ("kiln-24.efi", SYSTEM),
    (".kiln-00000025.efi", SYSTEM),
    ("auto-kiln.efi", SYSTEM),
    ("kiln", SYSTEM),
    ("empty.efi", ""),
    // Of other systems: keys and versions.
    ("a1.efi", "PRETTY_NAME=x\nID=nixos\nVERSION_ID=13\n"),
    ("a2.efi", "PRETTY_NAME=x\nID=z\nIMAGE_ID=m\n"),
    ("a3.efi", "PRETTY_NAME=x\nID=\"m\"\n"),
    ("a4.efi", "PRETTY_NAME=x\n  ID=m \t\nVERSION=7\n"),
    ("a5.efi", "PRETTY_NAME=x\r\nID=m\r\nVERSION=8\r\n"),
    ("a6.efi", "PRETTY_NAME=x\nID=mM\n"),
    ("aa.efi", "PRETTY_NAME=x\nID=ma\n"),
    ("a7.efi", "PRETTY_NAME=x\nID=m\"\nVERSION=1\n"),
    ("a8.efi", "PRETTY_NAME=x\n#ID=a\nID = a\n"),
    ("a9.efi", "PRETTY_NAME=x\nID=z\nID=n\nID=o\n"),
    ("b1.efi", "ID=m\nBUILD_ID=1\nVERSION_ID=2\nVERSION=3\nIMAGE_VERSION=4\n"),
    ("b2.efi", "NAME=x\nID=m\nBUILD_ID=5\nVERSION_ID=2\n"),
    ("b3.efi", "IMAGE_ID=m\nVERSION_ID=5\nVERSION=3\n"),
    ("b4.efi", "NAME=x\n"),
    ("b5.efi", "VERSION=3\n"),
    ("b6.efi", "PRETTY_NAME=x\nVERSION=9\n"),
    ("c1.efi", "ID=v\nVERSION=1~rc\n"),
    ("c2.efi", "ID=v\nVERSION=1^p\n"),
    ("c3.efi", "ID=v\nVERSION=1.0\n"),
    ("c4.efi", "ID=v\nVERSION=1-0\n"),
    ("c5.efi", "ID=v\nVERSION=1a\n"),
    ("c6.efi", "ID=v\nVERSION=1\n"),
    ("c7.efi", "ID=v\nVERSION=~\n"),
    ("c8.efi", "ID=v\nVERSION=1-.2\n"),
    ("c9.efi", "ID=v\nVERSION=1-^2\n"),
    ("d1.efi", "ID=v\nVERSION=1-~2\n"),
    ("d2.efi", "ID=v\nVERSION=1_2\n"),
    ("d3.efi", "ID=v\nVERSION=1-_2\n"),
    ("d4.efi", "ID=v\nVERSION=1-2\n"),
    ("d5.efi", "ID=v\nVERSION=00010\n"),
    ("d6.efi", "ID=v\nVERSION=9\n"),
    ("d7.efi", "ID=v\nVERSION=A\n"),
    ("d8.efi", "ID=v\nVERSION=a\n"),
    ("d9.efi", "ID=v\nVERSION=a1\n"),
];

/// A machine that has nothing good left.
const BAD: &[(&str, &str)] = &[
    ("kiln-00000002+0-3.efi", SYSTEM),
    ("kiln-00000001+0-9.efi", SYSTEM),
    ("kiln-00000003+0-9.efi", SYSTEM),
];

#[test]
fn our_order_of_boot_entries_is_the_loaders() -> Result<(), Failure> {
    let work = WorkDirectory::new("order")?;
    for suite in SUITES {
        let loader = BootLoader::of_debian(suite)?;
        for (name, files) in [("order", FILES), ("order-bad", BAD)] {
            let built: Vec<_> =
                files.iter().map(|(file, text)| ((*file).to_owned(), boot_file(text))).collect();
            compare(&loader.start(name, &built, &work)?, files);
        }
    }
    Ok(())
}

/// Holds the model against what the loader did with these files.
fn compare(choice: &Choice, files: &[(&str, &str)]) {
    let read = files.iter().filter_map(|(file, text)| Listed::read(file, text));
    let mut listed: Vec<Listed> = read.collect();
    sort(&mut listed);
    let version = &choice.version;
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{version}: {} of {} listed", listed.len(), files.len());
    let menu: Vec<&String> =
        choice.menu.iter().filter(|identifier| !identifier.starts_with("auto-")).collect();
    // Up to systemd 252 the counter is a part of the identifier.
    let has_counters = version.starts_with("systemd-boot 252");
    let identifier = |entry: &Listed| match has_counters {
        true => entry.file.to_ascii_lowercase(),
        false => entry.identifier(),
    };
    let expected: Vec<String> = listed.iter().map(identifier).collect();
    assert!(menu.iter().copied().eq(&expected), "{version}\nit has {menu:?}\nwe have {expected:?}");
    assert_eq!(Some(&choice.started), expected.first(), "{version}");

    let first: EntryName = listed[0].file.parse().expect("Kiln's own name comes first");
    let renamed = first.started();
    let path = format!("\\{}", renamed.path().replace('/', "\\"));
    assert_eq!(choice.counted.as_ref(), Some(&path), "{version}");
    let mut names: Vec<String> = files.iter().map(|(file, _)| (*file).to_owned()).collect();
    names.retain(|name| *name != first.to_string());
    names.push(renamed.to_string());
    names.sort_unstable();
    assert_eq!(choice.files, names, "{version}");
}
