//! Who this machine is, in the root that is about to start: the rules are `kiln_etc::identity`'s.

use crate::Error;
use kiln_etc::identity;
use std::path::Path;

pub use kiln_etc::identity::{from_random, parse};

/// Makes the identity if there is none, and gives it to the root.
pub(crate) fn establish(sysroot: &Path) -> Result<(), Error> {
    let kept = sysroot.join("state/identity");
    identity::establish(&kept, || Ok(kiln_sys::machine::random()?))?;
    let etc = sysroot.join("etc");
    if etc.is_dir() {
        identity::present(&kept, &etc)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_is_made_once_and_the_state_is_right() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("state/identity")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        let shown = root.path().join("etc/machine-id");
        fs::write(&shown, "uninitialized\n").unwrap();
        establish(root.path()).unwrap();
        let first = fs::read_to_string(&shown).unwrap();
        assert!(parse(&first).is_some(), "{first:?}");
        // Gone, and another one that came with an image: everyone who has the image has that.
        fs::remove_file(&shown).unwrap();
        establish(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), first);
        fs::write(&shown, "1".repeat(32)).unwrap();
        establish(root.path()).unwrap();
        assert_eq!(fs::read_to_string(&shown).unwrap(), first);
    }
}
