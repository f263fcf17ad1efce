//! Whose certificates the signature of an EFI program carries.
//!
//! Nothing is verified here: that is the firmware's part, or shim's. The certificates only serve to
//! see who signed, so that no loader is put where the one before it would not start it. Asking the
//! firmware's own lists was dropped, because they hold authorities of which a machine may lose one.
//!
//! Formats: the certificate table of Microsoft's "PE Format" ("The Attribute Certificate Table"), which
//! holds PKCS #7 signed data (RFC 5652, section 5.1) in DER (X.690); certificates as in RFC 5280,
//! section 4.1.

use crate::uki::format::{CERTIFICATES, PE_OFFSET_AT};

/// From the PE signature to the optional header: signature and COFF header.
const OPTIONAL_HEADER: usize = 24;
/// Header of a certificate: length, revision and type.
const CERTIFICATE_HEADER: usize = 8;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const PKCS_SIGNED_DATA: u16 = 2;
/// Signatures of one program that are looked at: a distribution's has one, some have two.
const MAXIMUM_SIGNATURES: usize = 8;

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;

/// All certificates in DER of all signatures of a PE32+ file; those that cannot be read are left out,
/// which makes two programs differ at most.
#[must_use]
pub fn certificates(file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let Some((start, end)) = table(file) else { return found };
    let mut table = file.get(start..end).unwrap_or_default();
    for _ in 0..MAXIMUM_SIGNATURES {
        let Some(length) = number(table, 0).filter(|length| *length > CERTIFICATE_HEADER) else {
            break;
        };
        let Some(signature) = table.get(CERTIFICATE_HEADER..length) else { break };
        if table.get(6..8) == Some(&PKCS_SIGNED_DATA.to_le_bytes()) {
            found.extend(of_signed_data(signature).unwrap_or_default());
        }
        // Entries begin at multiples of eight.
        table = table.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    found
}

/// A PE32+ file without its signatures.
#[must_use]
pub fn unsigned_part(file: &[u8]) -> &[u8] {
    let start = table(file).map_or(file.len(), |(start, _)| start);
    file.get(..start).unwrap_or(file)
}

/// The name in DER of whoever issued a certificate.
#[must_use]
pub fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    let content = |bytes, tag| element(bytes).filter(|found| found.tag == tag);
    let body = content(content(certificate, SEQUENCE)?.content, SEQUENCE)?;
    let mut rest = body.content;
    // The version, which version 1 does not have; serial number, signature algorithm.
    if let Some(version) = content(rest, CONTEXT_0) {
        rest = version.rest;
    }
    for _ in 0..2 {
        rest = element(rest)?.rest;
    }
    content(rest, SEQUENCE).map(|name| name.whole)
}

/// Where the certificate table begins and ends in the file; `None` without one.
fn table(file: &[u8]) -> Option<(usize, usize)> {
    let entry = number(file, PE_OFFSET_AT)?.checked_add(OPTIONAL_HEADER + CERTIFICATES)?;
    let (start, length) = (number(file, entry)?, number(file, entry.checked_add(4)?)?);
    let end = start.checked_add(length)?;
    (start > 0 && length > 0 && end <= file.len()).then_some((start, end))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(four.try_into().ok()?)).ok()
}

/// The certificates of PKCS #7 signed data, whole.
fn of_signed_data(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let content = |bytes, tag| element(bytes).filter(|found| found.tag == tag);
    let information = content(bytes, SEQUENCE)?;
    // The kind, then the data in a context of its own.
    let wrapped = content(element(information.content)?.rest, CONTEXT_0)?;
    let signed = content(wrapped.content, SEQUENCE)?;
    // Version, digest algorithms, what is signed.
    let mut rest = signed.content;
    for _ in 0..3 {
        rest = element(rest)?.rest;
    }
    let mut rest = content(rest, CONTEXT_0)?.content;
    let mut found = Vec::new();
    while let Some(certificate) = element(rest) {
        found.push(certificate.whole.to_vec());
        rest = certificate.rest;
    }
    Some(found)
}

/// One element of DER, and what follows it.
struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

/// The first element; `None` at the end, and for what is not of definite length.
fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, after) = bytes.split_first()?;
    let (&first, after) = after.split_first()?;
    let (length, after) = match first {
        0..=0x7f => (usize::from(first), after),
        // Up to four bytes of length: more than any program has.
        0x81..=0x84 => {
            let (digits, after) = after.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), after)
        }
        _ => return None,
    };
    let (content, rest) = after.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - rest.len())?;
    Some(Element { tag, whole, content, rest })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::{certificate, signed, stub_file};

    #[test]
    fn certificates_are_read_from_every_signature() {
        let plain = stub_file(0x8664);
        assert_eq!(certificates(&plain), Vec::<Vec<u8>>::new());
        assert_eq!(unsigned_part(&plain), plain);
        // Short and long lengths.
        let two = [certificate("leaf", "authority"), certificate(&"l".repeat(900), "authority")];
        let file = signed(plain.clone(), &two);
        assert_eq!(certificates(&file), two);
        assert_eq!(unsigned_part(&file).len(), plain.len());
        let mut broken = file;
        broken[plain.len() + CERTIFICATE_HEADER] = 0x31;
        assert_eq!(certificates(&broken), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn an_issuer_is_a_name() {
        let found = certificate("leaf", "authority");
        let name = issuer(&found).unwrap();
        assert_eq!(name[0], SEQUENCE);
        assert!(name.ends_with(b"authority"));
        // Version 1 has no number of its version, and begins with the serial number.
        let begin = found.windows(5).position(|bytes| bytes == [CONTEXT_0, 3, 2, 1, 2]).unwrap();
        let mut first = found.clone();
        first.drain(begin..begin + 5);
        first[1] -= 5;
        first[3] -= 5;
        assert_eq!(issuer(&first), Some(name));
        assert_eq!(issuer(&found[..found.len() - 1]), None, "cut off");
        assert_eq!(issuer(b""), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, at in 0_usize..0x900) {
            let _ = (certificates(&bytes), issuer(&bytes), unsigned_part(&bytes));
            let mut file = signed(stub_file(0x8664), &[certificate("leaf", "authority")]);
            let start = at.min(file.len());
            let end = (start + bytes.len()).min(file.len());
            file.splice(start..end, bytes);
            let _ = (certificates(&file), unsigned_part(&file));
        }
    }
}
