//! What a boot loader says of itself: version, processor, and whose certificates its signature carries.
//!
//! Its bytes come from the ESP, where anybody may have written, so nothing is believed beyond "systemd-boot
//! of this version": no signature is verified here, that is the firmware's part. The certificates only
//! serve to see that two loaders are signed by the same people; asking the firmware's own lists was
//! dropped, because they hold authorities, and what hangs below one takes a chain to tell.
//!
//! Formats: systemd-boot's section `.sdmagic` holds `#### LoaderInfo: systemd-boot VERSION ####`; the
//! certificate table is that of Microsoft "PE Format" ("The Attribute Certificate Table"), which holds
//! PKCS #7 signed data (RFC 5652, section 5.1) in DER (X.690).

use kiln_boot::uki;
use kiln_boot::uki::format::Architecture;

/// Longest loader that is read, in bytes; systemd's has less than 200 kB.
pub const MAXIMUM_LENGTH: u32 = 16 << 20;

/// Section of systemd-boot that names it.
const MAGIC: &str = ".sdmagic";
/// What stands around its version there.
const BEFORE: &str = "#### LoaderInfo: systemd-boot ";
const BEHIND: &str = " ####";
/// Longest version that is believed, in characters: distributions' have about twenty.
const MAXIMUM_VERSION: usize = 64;

/// Where the DOS header has the offset of the PE signature; behind that the COFF header begins.
const PE_OFFSET: usize = 0x3c;
/// From the PE signature to the entry of the certificate table in a PE32+ file: signature and COFF
/// header, 24 bytes, then index 4 of the data directories, which begin at 112.
const CERTIFICATE_ENTRY: usize = 24 + 112 + 4 * 8;
/// Header of a certificate: length, revision and type.
const CERTIFICATE_HEADER: usize = 8;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const PKCS_SIGNED_DATA: u16 = 2;
/// Signatures of one loader that are looked at: a distribution's has one, some have two.
const MAXIMUM_SIGNATURES: usize = 8;

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;

/// A systemd-boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// Its version, as the distribution calls it: `257.9-1~deb13u1`.
    pub version: String,
    /// The processor that it is for.
    pub architecture: Architecture,
    /// Whether it carries a signature.
    pub is_signed: bool,
    /// Its length in bytes.
    pub length: u64,
    /// Certificates of its signatures in DER.
    pub(crate) certificates: Vec<Vec<u8>>,
}

impl Loader {
    /// Reads a loader; `None` if it is none that Kiln knows, such as shim or another system's.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let program = uki::parse(bytes).ok()?;
        let text = str::from_utf8(program.section(MAGIC)?).ok()?.trim_end_matches('\0');
        let version = text.strip_prefix(BEFORE)?.strip_suffix(BEHIND)?;
        let is_plain = version.bytes().all(|byte| byte.is_ascii_graphic());
        if version.is_empty() || version.len() > MAXIMUM_VERSION || !is_plain {
            return None;
        }
        Some(Self {
            version: version.to_owned(),
            architecture: program.architecture?,
            is_signed: program.signed,
            length: bytes.len() as u64,
            certificates: if program.signed { certificates(bytes) } else { Vec::new() },
        })
    }

    /// Whether both are signed and carry a certificate of the same people.
    #[must_use]
    pub fn shares_a_certificate(&self, other: &Self) -> bool {
        self.certificates.iter().any(|certificate| other.certificates.contains(certificate))
    }
}

/// All certificates of all signatures of a PE32+ file; those that cannot be read are left out, which
/// makes two loaders differ at most.
fn certificates(file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let Some(mut table) = certificate_table(file) else { return found };
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

fn certificate_table(file: &[u8]) -> Option<&[u8]> {
    let entry = number(file, PE_OFFSET)?.checked_add(CERTIFICATE_ENTRY)?;
    let (start, length) = (number(file, entry)?, number(file, entry.checked_add(4)?)?);
    file.get(start..start.checked_add(length)?)
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
        // Up to four bytes of length: more than any loader has.
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
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest program with one section.
    pub(crate) fn program(section: &[u8], content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, b"MZ");
        put(0x3c, &0x40_u32.to_le_bytes());
        put(0x40, b"PE\0\0\x64\x86\x01\0");
        put(0x54, &240_u16.to_le_bytes());
        put(0x58, &0x20b_u16.to_le_bytes());
        for (at, value) in
            [(32, 4096_u32), (36, 512), (56, 0x2000), (60, 0x400), (68, 10), (108, 16)]
        {
            put(0x58 + at, &value.to_le_bytes());
        }
        put(0x148, section);
        let length = u32::try_from(content.len()).unwrap();
        for (at, value) in [(8, length), (12, 0x1000), (16, 512), (20, 0x400)] {
            put(0x148 + at, &value.to_le_bytes());
        }
        put(0x400, content);
        bytes
    }

    fn systemd_boot(version: &str) -> Vec<u8> {
        program(b".sdmagic", format!("{BEFORE}{version}{BEHIND}\0").as_bytes())
    }

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        let mut bytes = vec![tag];
        match content.len() {
            0..=0x7f => bytes.push(length[7]),
            _ => bytes.extend([&[0x82], &length[6..]].concat()),
        }
        [bytes, content.to_vec()].concat()
    }

    /// Adds a signature with these certificates.
    fn signed(mut file: Vec<u8>, certificates: &[&[u8]]) -> Vec<u8> {
        let list: Vec<u8> = certificates.iter().flat_map(|text| der(SEQUENCE, text)).collect();
        let data = [
            der(2, &[1]),
            der(0x31, b""),
            der(SEQUENCE, b"what is signed"),
            der(CONTEXT_0, &list),
            der(0x31, b"signers"),
        ];
        let data = der(CONTEXT_0, &der(SEQUENCE, &data.concat()));
        let data = der(SEQUENCE, &[der(6, b"kind"), data].concat());
        let length = u32::try_from(data.len() + CERTIFICATE_HEADER).unwrap();
        let start = u32::try_from(file.len()).unwrap();
        file.extend(length.to_le_bytes());
        file.extend([0, 2, 2, 0]);
        file.extend(data);
        file.resize(file.len().next_multiple_of(8), 0);
        let size = u32::try_from(file.len()).unwrap() - start;
        let entry = 0x40 + CERTIFICATE_ENTRY;
        file[entry..entry + 4].copy_from_slice(&start.to_le_bytes());
        file[entry + 4..entry + 8].copy_from_slice(&size.to_le_bytes());
        file
    }

    /// A loader for tables of other modules.
    pub(crate) fn loader(version: &str, certificates: &[&[u8]]) -> Loader {
        let plain = systemd_boot(version);
        let is_signed = !certificates.is_empty();
        Loader::read(&if is_signed { signed(plain, certificates) } else { plain }).unwrap()
    }

    #[test]
    fn a_loader_says_its_version() {
        let found = Loader::read(&systemd_boot("257.9-1~deb13u1")).unwrap();
        assert_eq!((found.version.as_str(), found.is_signed), ("257.9-1~deb13u1", false));
        assert_eq!((found.architecture, found.length), (Architecture::X86_64, 0x600));
        let long = "2".repeat(MAXIMUM_VERSION + 1);
        let others = [
            program(b".sdmagic", b"#### LoaderInfo: rEFInd 0.14 ####"),
            program(b".sdmagic", b"#### LoaderInfo: systemd-boot 257"),
            program(b".sbat", b"#### LoaderInfo: systemd-boot 257 ####"),
            systemd_boot(""),
            systemd_boot("25 7"),
            systemd_boot("25\n7"),
            systemd_boot(&long),
            b"MZ".to_vec(),
            Vec::new(),
        ];
        for other in others {
            assert_eq!(Loader::read(&other), None, "{:?}", String::from_utf8_lossy(&other));
        }
    }

    #[test]
    fn loaders_of_the_same_people_share_a_certificate() {
        let long = [7; 900];
        let one = loader("257", &[b"leaf 1", &long]);
        assert!(one.is_signed);
        assert_eq!(one.certificates, [der(SEQUENCE, b"leaf 1"), der(SEQUENCE, &long)]);
        for (certificates, expected) in [
            (&[&b"leaf 1"[..]][..], true),
            (&[b"leaf 2", &long], true),
            (&[b"leaf 2"], false),
            (&[], false),
        ] {
            let other = loader("258", certificates);
            assert_eq!(one.shares_a_certificate(&other), expected);
            assert_eq!(other.shares_a_certificate(&one), expected);
        }
        // Signed by somebody of whom nothing can be read: nobody's friend, not even its own.
        let mut broken = signed(systemd_boot("257"), &[b"leaf 1"]);
        broken[0x600 + CERTIFICATE_HEADER] = 0x31;
        let broken = Loader::read(&broken).unwrap();
        assert!(broken.is_signed && !broken.shares_a_certificate(&broken));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, at in 0_usize..0x700) {
            let _ = Loader::read(&bytes);
            let mut file = signed(systemd_boot("257"), &[b"leaf"]);
            let start = at.min(file.len());
            let end = (start + bytes.len()).min(file.len());
            file.splice(start..end, bytes);
            let _ = Loader::read(&file);
        }
    }
}
