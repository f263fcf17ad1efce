//! Kiln's own binaries that go into an image: the `kiln` of the root and the init of the initramfs.
//!
//! Normally these are the running program itself and the init inside it, so nothing has to be
//! found on the host. For another architecture a folder with both is given. A dynamically linked
//! `kiln` is refused: the image may hold another C library, or none.

use std::path::Path;

use crate::Error;

/// The static init that was built together with this program, for this program's architecture.
static EMBEDDED_INIT: &[u8] = include_bytes!(env!("KILN_INIT_EMBEDDED"));

/// Largest binary that is read, in bytes; far above any build of Kiln.
const BINARY_MAX: u64 = 256 << 20;

/// Both binaries for one architecture.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// The static `kiln`.
    pub kiln: Vec<u8>,
    /// The static `kiln-init`.
    pub init: Vec<u8>,
}

impl Runtime {
    /// Finds both binaries for `architecture` (`amd64`, `arm64`): in `folder` as `kiln` and
    /// `kiln-init` if one is given, else in the running program.
    ///
    /// # Errors
    /// [`Error::Runtime`] if they are missing, for another architecture or not static.
    pub fn find(folder: Option<&Path>, architecture: &str) -> Result<Self, Error> {
        let error = |reason: String| Error::Runtime { architecture: architecture.into(), reason };
        let (kiln, init) = match folder {
            Some(folder) => (read(&folder.join("kiln"))?, read(&folder.join("kiln-init"))?),
            None if architecture == host_architecture() => {
                let path = std::env::current_exe().map_err(|source| {
                    error(format!("the running program has no path: {source}"))
                })?;
                (read(&path)?, EMBEDDED_INIT.to_vec())
            }
            None => return Err(error(format!("this program is for {}", host_architecture()))),
        };
        for (name, binary) in [("kiln", &kiln), ("kiln-init", &init)] {
            check_static(binary, architecture)
                .map_err(|reason| error(format!("{name} {reason}")))?;
        }
        Ok(Self { kiln, init })
    }
}

/// This program's architecture in OCI's words.
pub(crate) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let length = std::fs::metadata(path).map_err(|source| Error::read(path, source))?.len();
    if length > BINARY_MAX {
        let source = std::io::Error::other("it is far too large for a binary of Kiln");
        return Err(Error::read(path, source));
    }
    std::fs::read(path).map_err(|source| Error::read(path, source))
}

/// Checks that `binary` is a 64-bit little-endian ELF program for `architecture` without an
/// interpreter (System V ABI, ELF header and program header).
fn check_static(binary: &[u8], architecture: &str) -> Result<(), String> {
    const PROGRAM_HEADER_INTERPRETER: u32 = 3;
    let machine = match architecture {
        "amd64" => 62,
        "arm64" => 183,
        other => return Err(format!("cannot be checked for {other}")),
    };
    let short = || "is no 64-bit ELF program".to_owned();
    if binary.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(short());
    }
    if u16_at(binary, 18).ok_or_else(short)? != machine {
        return Err(format!("is not built for {architecture}"));
    }
    let table = binary
        .get(32..40)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes)
        .and_then(|offset| usize::try_from(offset).ok())
        .ok_or_else(short)?;
    let entry_size = usize::from(u16_at(binary, 54).ok_or_else(short)?);
    let entries = usize::from(u16_at(binary, 56).ok_or_else(short)?);
    for index in 0..entries {
        let kind = index
            .checked_mul(entry_size)
            .and_then(|offset| offset.checked_add(table))
            .and_then(|offset| binary.get(offset..offset.checked_add(4)?))
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes)
            .ok_or_else(short)?;
        if kind == PROGRAM_HEADER_INTERPRETER {
            return Err("is dynamically linked; Kiln's binaries must be static".into());
        }
    }
    Ok(())
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let end = offset.checked_add(2)?;
    bytes.get(offset..end)?.try_into().ok().map(u16::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::{EMBEDDED_INIT, check_static, host_architecture};

    #[test]
    fn the_embedded_init_is_static() {
        assert_eq!(check_static(EMBEDDED_INIT, host_architecture()), Ok(()));
    }

    #[test]
    fn unfit_binaries_are_named() {
        let other = if host_architecture() == "amd64" { "arm64" } else { "amd64" };
        let mut dynamic = EMBEDDED_INIT.to_vec();
        let table = u64::from_le_bytes(dynamic[32..40].try_into().unwrap()) as usize;
        dynamic[table..table + 4].copy_from_slice(&3_u32.to_le_bytes());
        let cases: [(&[u8], &str, &str); 4] = [
            (b"#!/bin/sh\n", host_architecture(), "no 64-bit ELF"),
            (&EMBEDDED_INIT[..60], host_architecture(), "no 64-bit ELF"),
            (EMBEDDED_INIT, other, "not built for"),
            (&dynamic, host_architecture(), "dynamically linked"),
        ];
        for (binary, architecture, expected) in cases {
            let error = check_static(binary, architecture).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
