//! What a boot loader says of itself: kind, version, processor, and whose certificates its signature has.
//!
//! Its bytes come from the ESP, where anybody may have written, so nothing is believed beyond "systemd-boot
//! of this version": no signature is verified here, that is the firmware's part and shim's.
//!
//! Formats: systemd-boot's section `.sdmagic` holds `#### LoaderInfo: systemd-boot VERSION ####`; shim's
//! stand in [`kiln_boot::shim`], signatures in [`kiln_boot::signature`].

use kiln_boot::shim::Shim;
use kiln_boot::signature::certificates;
use kiln_boot::uki::format::Architecture;
use kiln_boot::{loader_set, uki};

/// Longest loader that is read, in bytes: what a build reads.
pub const MAXIMUM_LENGTH: u32 = loader_set::LIMIT;

/// What systemd-boot is called in reports and records.
pub(crate) const SYSTEMD_BOOT: &str = "systemd-boot";

/// Section of systemd-boot that names it.
const MAGIC: &str = ".sdmagic";
/// What stands around its version there.
const BEFORE: &str = "#### LoaderInfo: systemd-boot ";
const BEHIND: &str = " ####";
/// Longest version that is believed, in characters: distributions' have about twenty.
const MAXIMUM_VERSION: usize = 64;

/// Which loader something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoaderKind {
    /// systemd-boot, which starts the boot files.
    SystemdBoot,
    /// shim, which firmware starts and which starts systemd-boot.
    Shim(Shim),
}

impl LoaderKind {
    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SystemdBoot => SYSTEMD_BOOT,
            Self::Shim(_) => "shim",
        }
    }
}

/// A boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loader {
    /// Which one it is.
    pub kind: LoaderKind,
    /// Its version; systemd-boot's is the distribution's: `257.9-1~deb13u1`.
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
    /// Reads a loader; `None` if it is none that Kiln knows, such as another system's.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::systemd_boot(bytes).or_else(|| Self::shim(bytes))
    }

    fn shim(bytes: &[u8]) -> Option<Self> {
        let shim = Shim::read(bytes)?;
        Some(Self {
            version: shim.version.clone(),
            architecture: shim.architecture,
            is_signed: shim.is_signed,
            length: bytes.len() as u64,
            certificates: certificates(bytes),
            kind: LoaderKind::Shim(shim),
        })
    }

    fn systemd_boot(bytes: &[u8]) -> Option<Self> {
        let program = uki::parse(bytes).ok()?;
        let text = str::from_utf8(program.section(MAGIC)?).ok()?.trim_end_matches('\0');
        let version = text.strip_prefix(BEFORE)?.strip_suffix(BEHIND)?;
        let is_plain = version.bytes().all(|byte| byte.is_ascii_graphic());
        if version.is_empty() || version.len() > MAXIMUM_VERSION || !is_plain {
            return None;
        }
        Some(Self {
            kind: LoaderKind::SystemdBoot,
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

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tags of DER (X.690, section 8.1).
    const SEQUENCE: u8 = 0x30;
    const CONTEXT_0: u8 = 0xa0;
    /// Header of a certificate in the table of certificates.
    const CERTIFICATE_HEADER: usize = 8;
    /// The table's entry in the header of [`program`].
    const CERTIFICATE_ENTRY: usize = 24 + 112 + 4 * 8;

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

    fn name(of: &str) -> Vec<u8> {
        der(SEQUENCE, &der(12, of.as_bytes()))
    }

    /// What passes for an X.509 certificate, as far as its issuer and subject.
    pub(crate) fn certificate(subject: &str, issuer: &str) -> Vec<u8> {
        let body =
            [der(2, &[7]), der(SEQUENCE, b""), name(issuer), der(SEQUENCE, b""), name(subject)];
        der(SEQUENCE, &der(SEQUENCE, &body.concat()))
    }

    /// What passes for an unsigned shim that starts `second` and believes `authority`.
    pub(crate) fn shim(version: &str, second: &str, authority: &str) -> Vec<u8> {
        let names: Vec<u8> = second.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let identity = format!("UEFI SHIM\n$Version: {version} $\n");
        let content = [identity.as_bytes(), &names, &certificate(authority, authority)].concat();
        program(b".data", &content)
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
        assert_eq!(found.kind.name(), "systemd-boot");
        let found = Loader::read(&shim("16.1", "\\grubx64.efi", "Debian")).unwrap();
        assert_eq!((found.version.as_str(), found.kind.name()), ("16.1", "shim"));
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
