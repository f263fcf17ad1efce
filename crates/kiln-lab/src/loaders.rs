//! Boot loaders that say what they are and by whom they are signed, and do nothing.
//!
//! Real ones are megabytes and cannot be signed here by those who count. Their signatures are of the
//! right form and prove nothing: what is asked with these is who a loader claims to be from.

use crate::efi;

/// Where the header of [`efi::image`] has the entry of the certificate table (PE format, "Optional
/// Header Data Directories").
const CERTIFICATE_ENTRY: usize = 0x58 + 112 + 4 * 8;

/// One element of DER (X.690, section 8.1).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let mut bytes = vec![tag];
    match content.len() {
        0..=0x7f => bytes.push(length[7]),
        _ => bytes.extend([&[0x82], &length[6..]].concat()),
    }
    [bytes, content.to_vec()].concat()
}

/// What passes for an X.509 certificate (RFC 5280, section 4.1), as far as its issuer and subject.
#[must_use]
pub fn certificate(subject: &str, issuer: &str) -> Vec<u8> {
    let name = |of: &str| der(0x30, &der(0x0c, of.as_bytes()));
    let body = [der(2, &[7]), der(0x30, b""), name(issuer), der(0x30, b""), name(subject)];
    der(0x30, &der(0x30, &body.concat()))
}

/// Adds a signature with these certificates to a program of [`efi::image`].
fn signed(mut file: Vec<u8>, certificates: &[Vec<u8>]) -> Vec<u8> {
    let data = [
        der(2, &[1]),
        der(0x31, b""),
        der(0x30, b"what is signed"),
        der(0xa0, &certificates.concat()),
        der(0x31, b"signers"),
    ];
    let data = der(0x30, &[der(6, b"kind"), der(0xa0, &der(0x30, &data.concat()))].concat());
    let start = file.len() as u32;
    file.extend((data.len() as u32 + 8).to_le_bytes());
    file.extend([0, 2, 2, 0]);
    file.extend(data);
    file.resize(file.len().next_multiple_of(8), 0);
    let length = file.len() as u32 - start;
    for (at, number) in [(0, start), (4, length)] {
        let at = CERTIFICATE_ENTRY + at;
        file[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    file
}

/// Some code, so that a file has as many sectors as one wants.
fn code(length: usize, version: &str) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(version.len() as u8 | 1)).collect()
}

/// What passes for a systemd-boot with `length` bytes of code, signed with certificates of these issuers.
#[must_use]
pub fn systemd_boot(version: &str, length: usize, issuers: &[&str]) -> Vec<u8> {
    let magic = format!("#### LoaderInfo: systemd-boot {version} ####");
    let sections: [(&str, &[u8]); 2] =
        [(".text", &code(length, version)), (".sdmagic", magic.as_bytes())];
    let leaf = |issuer: &&str| certificate(&format!("systemd-boot {version}"), issuer);
    signed(efi::image(&sections), &issuers.iter().map(leaf).collect::<Vec<_>>())
}

/// What passes for a shim that starts `grubx64.efi` if one of these authorities signed it.
#[must_use]
pub fn shim(version: &str, length: usize, authorities: &[&str]) -> Vec<u8> {
    let identity = format!("UEFI SHIM\n$Version: {version} $\n");
    let names: Vec<u8> =
        "\\grubx64.efi \\mmx64.efi".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let allowed: Vec<u8> = authorities.iter().flat_map(|name| certificate(name, name)).collect();
    let numbers = [allowed.len() as u32, 0, 16, 16 + allowed.len() as u32];
    let vendor = [numbers.map(u32::to_le_bytes).concat(), allowed].concat();
    let sections: [(&str, &[u8]); 4] = [
        (".text", &code(length, version)),
        (".data", identity.as_bytes()),
        (".names", &names),
        (".vendor_", &vendor),
    ];
    signed(efi::image(&sections), &[certificate("publisher", "Firmware")])
}
