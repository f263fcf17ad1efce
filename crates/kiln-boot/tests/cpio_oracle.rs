//! The archive as cpio(1), a reader that is not ours, sees it.
//!
//! Skipped with a message where cpio is not installed; under CI that is a failure, so that the
//! check cannot vanish unseen.

#![cfg(feature = "build")]

use std::io::Write;
use std::process::{Command, Stdio};

use kiln_boot::cpio::Archive;

#[test]
fn cpio_lists_what_was_written() {
    let mut archive = Archive::new();
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.file("init", 0o755, b"#!program".to_vec());
    archive.file("kiln/mod/erofs.ko", 0o644, vec![7; 1234]);
    let bytes = archive.finish().unwrap();

    let spawned = Command::new("cpio")
        .args(["--extract", "--list", "--verbose", "--numeric-uid-gid", "--quiet"])
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut cpio) = spawned else {
        assert!(std::env::var_os("CI").is_none(), "cpio is not installed");
        println!("skipped: cpio is not installed");
        return;
    };
    cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = cpio.wait_with_output().unwrap();
    assert!(output.status.success());
    let listing = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> =
        listing.lines().map(|line| line.split_whitespace().collect()).collect();
    // Mode, links, uid, gid, size or device number, date (three words), name.
    let expected = [
        "drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
        "crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
        "-rwxr-xr-x 1 0 0 9 Jan 1 1970 init",
        "drwxr-xr-x 3 0 0 0 Jan 1 1970 kiln",
        "drwxr-xr-x 2 0 0 0 Jan 1 1970 kiln/mod",
        "-rw-r--r-- 1 0 0 1234 Jan 1 1970 kiln/mod/erofs.ko",
    ];
    let expected: Vec<Vec<&str>> =
        expected.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, expected);
}
