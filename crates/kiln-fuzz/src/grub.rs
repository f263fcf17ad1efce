//! What GRUB writes and Kiln reads back: the environment block, and the decision that hangs on it.

use kiln_grub::choice::{Found, decide};
use kiln_grub::environment::{Environment, LENGTH, identifier};

use crate::text::lossy;

/// Names of boot files that are taken from the bytes.
const NAMES: usize = 12;
/// Generations that every disk here has a configuration for.
const GENERATIONS: u32 = 30;

/// Reads an environment block, whose last lines may be names of boot files, and decides by it. What
/// is accepted survives a round trip; something is started if something can be; a try is taken from
/// what is started and from nothing else; and a wish is over.
pub fn grub_environment(data: &[u8]) -> bool {
    let text = lossy(data);
    let mut files: Vec<&str> =
        text.lines().filter(|line| line.starts_with("kiln-")).take(NAMES).collect();
    files.push("kiln-00000001.efi");
    let configured: Vec<u32> = (0..GENERATIONS).collect();
    let found = Found { files, configured, recovery_configured: true };
    let decision = decide(&found, Some(data));
    let item = match decision.item() {
        Some(item) => item.clone(),
        None => panic!("nothing is started, though there is something good"),
    };
    let Ok(before) = Environment::parse(data) else {
        assert!(item.tries.is_none() && decision.environment.is_none(), "counted in no block");
        return false;
    };
    let Some(after) = decision.environment else { panic!("a usable block is not used") };
    assert_eq!(after.one_shot(), None);
    for generation in 0..GENERATIONS {
        let taken = item.generation == Some(generation) && item.tries.is_some();
        let expected = match (taken, item.tries) {
            (true, Some(tries)) => {
                assert!(tries > 0, "started without a try");
                Some(tries - 1)
            }
            _ => before.left(generation),
        };
        assert_eq!(after.left(generation), expected, "{generation}");
    }
    let Ok(bytes) = after.to_bytes() else { return true };
    assert_eq!(bytes.len(), data.len(), "GRUB could not write it in place");
    let again = match Environment::parse(&bytes) {
        Ok(again) => again,
        Err(error) => panic!("what was written is refused: {error}"),
    };
    assert_eq!(again.to_bytes().ok(), Some(bytes), "the second round differs");
    let mut fresh = again;
    fresh.set_one_shot(Some(&identifier(7)));
    fresh.set_left(7, Some(3));
    if let Ok(bytes) = fresh.to_bytes() {
        let read = Environment::parse(&bytes);
        let read = read.as_ref().map(|read| (read.one_shot(), read.left(7)));
        assert_eq!(read, Ok((Some("kiln-00000007.efi"), Some(3))));
    }
    data.len() == LENGTH
}
