//! A boot loader that says its version and does nothing.

use crate::support::program;

/// What passes for a systemd-boot of this version.
pub(crate) fn systemd_boot(version: &str) -> Vec<u8> {
    let mut bytes = program();
    let text = format!("#### LoaderInfo: systemd-boot {version} ####");
    let length = u32::try_from(text.len()).unwrap();
    bytes[0x148..0x150].copy_from_slice(b".sdmagic");
    bytes[0x150..0x154].copy_from_slice(&length.to_le_bytes());
    bytes[0x400..0x400 + text.len()].copy_from_slice(text.as_bytes());
    bytes
}
