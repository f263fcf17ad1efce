//! What the firmware says of Secure Boot: a variable that it alone can write.
//!
//! Only told, never relied on: no decision of Kiln's becomes laxer because this variable says yes, since
//! whoever took the firmware over can say it, too. Asking the kernel for its lockdown mode was dropped:
//! it can be on without Secure Boot and off with it.
//!
//! A variable is four bytes of attributes (kernel, Documentation/filesystems/efivarfs.rst), then one byte:
//! 1 while the firmware starts only what is signed, 0 in setup mode and when it is switched off (UEFI 2.10,
//! section 3.3, `SecureBoot`).

use std::fs::File;
use std::io::Read as _;

use crate::machine::Paths;

/// Name and vendor of the variable (UEFI 2.10, section 3.3: `EFI_GLOBAL_VARIABLE`).
const VARIABLE: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Bytes of attributes in front of the value.
const ATTRIBUTES: usize = 4;

/// Whether the firmware starts only what is signed; `None` where it says nothing that can be read, as
/// without UEFI.
#[must_use]
pub fn is_enforced(paths: &Paths) -> Option<bool> {
    let file = File::open(paths.variables.join(VARIABLE)).ok()?;
    let mut bytes = Vec::new();
    // One byte more than there should be, so that a longer one is no answer.
    file.take(ATTRIBUTES as u64 + 2).read_to_end(&mut bytes).ok()?;
    match bytes.get(ATTRIBUTES..)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{VARIABLE, is_enforced};
    use crate::machine::Paths;

    #[test]
    fn only_a_clear_answer_counts() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::below(folder.path());
        assert_eq!(is_enforced(&paths), None, "no UEFI");
        fs::create_dir_all(&paths.variables).unwrap();
        for (bytes, expected) in [
            (&[6, 0, 0, 0, 1][..], Some(true)),
            (&[6, 0, 0, 0, 0], Some(false)),
            (&[6, 0, 0, 0, 2], None),
            (&[6, 0, 0, 0, 1, 1], None),
            (&[6, 0, 0, 0], None),
            (&[], None),
        ] {
            fs::write(paths.variables.join(VARIABLE), bytes).unwrap();
            assert_eq!(is_enforced(&paths), expected, "{bytes:?}");
        }
    }
}
