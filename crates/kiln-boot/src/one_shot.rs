//! The variable by which the loader starts one entry once (boot loader interface, `LoaderEntryOneShot`).
//!
//! Only its name and bytes: who writes it, a running system or the first process, is not said here. A
//! variable is four bytes of attributes (kernel, Documentation/filesystems/efivarfs.rst), then UTF-16LE
//! text with a zero at its end.

use crate::entry::RECOVERY_FILE;

/// Where the kernel shows UEFI variables.
pub const FOLDER: &str = "/sys/firmware/efi/efivars";
/// Name of the variable in [`FOLDER`], with the vendor of the loader's variables.
pub const NAME: &str = "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// The variable that is there if a loader is that knows [`NAME`].
pub const LOADER: &str = "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Non-volatile, for the boot and for the running system (UEFI 2.10, section 8.2.1).
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// The whole variable that starts recovery.
#[must_use]
pub fn recovery() -> Vec<u8> {
    let text = RECOVERY_FILE.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
    ATTRIBUTES.into_iter().chain(text).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_attributes_and_a_file_name() {
        let bytes = super::recovery();
        let mut expected = vec![7, 0, 0, 0];
        expected.extend("kiln-recovery.efi\0".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(bytes, expected);
    }
}
