//! shim: what firmware of the market starts, and whom it believes.
//!
//! shim carries the certificate of its distribution and starts a second program only if that is signed
//! by it (or by a key that somebody enrolled on the machine). Here is told which version a shim is, what
//! it is going to start, and whether it would start a given program: a shim that is laid before a loader
//! that it refuses is a machine that does not start. Like everything that reads signatures here, this
//! compares names and verifies nothing.
//!
//! Formats: shim's own sources, `shim.h` and `cert.S`: the text `UEFI SHIM` with `$Version: … $`, the
//! names `DEFAULT_LOADER` and `MOK_MANAGER` in UTF-16, and the section `.vendor_cert`, which begins with
//! sizes and offsets of what is allowed and what is not.

use crate::signature;
use crate::uki::format::{Architecture, COFF_BYTES, PE_OFFSET_AT, u32_at};
use crate::uki::{self, Uki};

/// What shim says of itself.
const IDENTITY: &[u8] = b"UEFI SHIM\n$Version: ";
/// Longest version that is believed, in characters; shim's have four.
const MAXIMUM_VERSION: usize = 32;
/// Section with the distribution's certificates, and its name where names have eight letters.
const VENDOR: [&str; 2] = [".vendor_cert", ".vendor_"];
/// Bytes of a name in DER that has no parts.
const EMPTY_NAME: usize = 2;
/// Offsets in the COFF header: place of the symbols and their number (Microsoft, "PE Format").
const SYMBOLS: usize = 8;
const SYMBOL_COUNT: usize = 12;
/// Bytes of a symbol; behind all of them are the names that are longer than eight letters.
const SYMBOL_BYTES: usize = 18;

/// A shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    /// Its version: `16.1`. That of the distribution's package is not in it.
    pub version: String,
    /// The processor that it is for.
    pub architecture: Architecture,
    /// Whether it carries a signature, without which firmware that wants one has no use for it.
    pub is_signed: bool,
    /// File name of what it starts, in its own folder.
    pub second_stage: String,
    /// File name of what it starts to enrol keys, in its own folder.
    pub key_manager: Option<String>,
    /// The certificates that it believes, in whatever they are wrapped.
    authorities: Vec<u8>,
}

impl Shim {
    /// Reads a shim; `None` for any other program.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let program = uki::parse(bytes).ok()?;
        let architecture = program.architecture?;
        let body = signature::unsigned_part(bytes);
        let at = find(body, IDENTITY)?.checked_add(IDENTITY.len())?;
        let text = body.get(at..)?;
        let end = text.iter().take(MAXIMUM_VERSION).position(|byte| *byte == b' ')?;
        let version = str::from_utf8(text.get(..end)?).ok()?;
        let is_plain = version.bytes().all(|byte| byte.is_ascii_graphic());
        if version.is_empty() || !is_plain {
            return None;
        }
        let suffix = architecture.efi_suffix();
        let second = [format!("grub{suffix}.efi"), "grub.efi".to_owned()];
        let manager = [format!("mm{suffix}.efi"), "MokManager.efi".to_owned()];
        Some(Self {
            version: version.to_owned(),
            architecture,
            is_signed: program.signed,
            second_stage: named(body, second)?,
            key_manager: named(body, manager),
            authorities: authorities(bytes, body, &program).to_vec(),
        })
    }

    /// Whether it starts a program whose signature carries these certificates: one of them, or the
    /// issuer of one, is among those that it believes.
    #[must_use]
    pub fn vouches_for(&self, certificates: &[Vec<u8>]) -> bool {
        let believes = |der: &[u8]| find(&self.authorities, der).is_some();
        certificates.iter().any(|certificate| {
            // An empty name would be found anywhere.
            let issuer = signature::issuer(certificate).filter(|name| name.len() > EMPTY_NAME);
            issuer.is_some_and(|issuer| believes(certificate) || believes(issuer))
        })
    }
}

/// What shim believes. Where sections have no names to tell it by, as in old ones for arm64, all of
/// the program but its own signature is taken for it.
fn authorities<'a>(file: &'a [u8], body: &'a [u8], program: &Uki<'a>) -> &'a [u8] {
    let mut sections = program.sections.iter();
    let section = sections.find(|section| {
        let name = long_name(file, &section.name);
        VENDOR.iter().any(|vendor| vendor.as_bytes() == name)
    });
    let Some(section) = section else { return body };
    let number = |at| u32_at(section.data, at).and_then(|number| usize::try_from(number).ok());
    let allowed = number(0).zip(number(8)).and_then(|(length, start)| {
        let end = start.checked_add(length)?;
        section.data.get(start..end)
    });
    allowed.unwrap_or_default()
}

/// The name of a section: itself, or what it points to.
fn long_name<'a>(file: &'a [u8], name: &'a str) -> &'a [u8] {
    let referred = || {
        let at = usize::try_from(name.strip_prefix('/')?.parse::<u32>().ok()?).ok()?;
        let number = |at| u32_at(file, at).and_then(|number| usize::try_from(number).ok());
        let coff = number(PE_OFFSET_AT)?.checked_add(4)?;
        let header = file.get(coff..coff.checked_add(COFF_BYTES)?)?;
        let field = |at| u32_at(header, at).and_then(|number| usize::try_from(number).ok());
        let symbols = field(SYMBOL_COUNT)?.checked_mul(SYMBOL_BYTES)?;
        let start = field(SYMBOLS)?.checked_add(symbols)?.checked_add(at)?;
        let text = file.get(start..)?;
        // Longer than any that is asked for.
        let end = text.iter().take(64).position(|byte| *byte == 0)?;
        text.get(..end)
    };
    referred().unwrap_or(name.as_bytes())
}

/// The first of these file names that a program holds in UTF-16 behind a backslash.
fn named(body: &[u8], names: [String; 2]) -> Option<String> {
    names.into_iter().find(|name| {
        let units: Vec<u8> =
            format!("\\{name}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        find(body, &units).is_some()
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len().max(1)).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::{certificate, shim_file, signed, stub_file};

    fn debian() -> Vec<u8> {
        shim_file(0x8664, "16.1", "\\\\grubx64.efi \\mmx64.efi", "Debian")
    }

    #[test]
    fn a_shim_says_what_it_is_and_what_it_starts() {
        let file = debian();
        let shim = Shim::read(&file).unwrap();
        assert_eq!((shim.version.as_str(), shim.is_signed), ("16.1", false));
        assert_eq!(shim.second_stage, "grubx64.efi");
        assert_eq!(shim.key_manager.as_deref(), Some("mmx64.efi"));
        assert!(Shim::read(&signed(file, &[certificate("a", "b")])).unwrap().is_signed);
        let names = "\\grub.efi \\MokManager.efi";
        let other = Shim::read(&shim_file(0x8664, "15.8", names, "openSUSE")).unwrap();
        assert_eq!(other.second_stage, "grub.efi");
        assert_eq!(other.key_manager.as_deref(), Some("MokManager.efi"));
        let arm = Shim::read(&shim_file(0xaa64, "15.8", "\\grubaa64.efi", "Debian")).unwrap();
        assert_eq!((arm.architecture, arm.key_manager), (Architecture::Aarch64, None));
        for other in [
            stub_file(0x8664),
            shim_file(0x8664, "", "\\grubx64.efi", "Debian"),
            shim_file(0x8664, &"1".repeat(99), "\\grubx64.efi", "Debian"),
            shim_file(0x8664, "16.1", "grubx64.efi", "Debian"),
            shim_file(0xaa64, "16.1", "\\grubx64.efi", "Debian"),
            b"UEFI SHIM\n$Version: 16.1 $".to_vec(),
        ] {
            assert_eq!(Shim::read(&other), None);
        }
    }

    #[test]
    fn it_vouches_for_what_its_own_people_signed() {
        for machine in [0x8664, 0xaa64] {
            let names = "\\grubx64.efi \\grubaa64.efi";
            let file = shim_file(machine, "16.1", names, "Debian");
            // Who signed the shim itself says nothing of what it starts.
            let shim = Shim::read(&signed(file, &[certificate("publisher", "Firmware")])).unwrap();
            for (leaf, issuer, expected) in [
                ("systemd-boot", "Debian", true),
                ("Debian", "Debian", true),
                ("systemd-boot", "Firmware", false),
                ("systemd-boot", "Refused", false),
                ("Debian", "Fedora", false),
            ] {
                let found = shim.vouches_for(&[certificate(leaf, issuer)]);
                assert_eq!(found, expected, "{machine:x} {leaf} {issuer}");
            }
            assert!(!shim.vouches_for(&[]));
            assert!(!shim.vouches_for(&[b"no certificate".to_vec(), Vec::new()]));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, at in 0_usize..0x900) {
            let _ = Shim::read(&bytes);
            let mut file = debian();
            let start = at.min(file.len());
            let end = (start + bytes.len()).min(file.len());
            file.splice(start..end, bytes);
            let _ = Shim::read(&file);
        }
    }
}
