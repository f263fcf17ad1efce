//! How much room there is where a file lies.

use rustix::fs::fstatvfs;
use std::fs::File;

/// Bytes that this user may still write beside `file`; nothing where the system does not say.
#[must_use]
pub fn free_space(file: &File) -> Option<u64> {
    let facts = fstatvfs(file).ok()?;
    facts.f_bavail.checked_mul(facts.f_frsize)
}
