//! A recipe for people.

use std::fmt::Write as _;

use super::reader::{Part, Recipe};
use crate::contents::hex;

/// One line a part, with its place in the boot file.
#[must_use]
pub fn dump(recipe: &Recipe) -> String {
    let mut text = format!("length {} digest {}\n", recipe.length, hex(&recipe.digest));
    let mut offset = 0;
    for part in &recipe.parts {
        let name = |name: &[u8]| {
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            name[..end].escape_ascii().to_string()
        };
        let what = match part {
            Part::Inline { name: own, .. } => format!("inline {}", name(own)),
            Part::Zeros { .. } => "zeros".to_owned(),
            Part::Blob { name: own, digest, .. } => format!("blob {} {}", name(own), hex(digest)),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{offset:>10} {:>10} {what}", part.length());
        offset += part.length();
    }
    text
}
