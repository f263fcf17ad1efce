//! The contents for people: one line a frame, from the blob alone.

use std::fmt::Write as _;

use crate::Error;

/// Offset, stored length and unpacked length of each frame.
///
/// # Errors
/// [`Error::Malformed`] where something else than frames with a length begins.
pub fn dump(blob: &[u8]) -> Result<String, Error> {
    let mut text = String::new();
    let mut offset = 0;
    while offset < blob.len() {
        let rest = &blob[offset..];
        let refused = || Error::malformed("contents", format!("no frame begins at byte {offset}"));
        let stored = zstd::zstd_safe::find_frame_compressed_size(rest).map_err(|_| refused())?;
        let length = zstd::zstd_safe::get_frame_content_size(rest).map_err(|_| refused())?;
        if stored == 0 {
            return Err(refused());
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{offset:>12} {stored:>8} {:>8}", length.unwrap_or_default());
        offset += stored;
    }
    Ok(text)
}
