//! GRUB's environment block: the tries that revisions have left, and what shall be started once.
//!
//! It is the only file that GRUB writes, always in place: the length never changes, and taking a
//! try changes one digit, so one sector. A machine writes it like any other file of the ESP.
//!
//! | variable | value |
//! |---|---|
//! | `left_<generation, 8 digits>` | one digit: tries left, or fewer if the file's name says fewer |
//! | `oneshot` | identifier of a boot file, `kiln-00000007.efi` or `kiln-recovery.efi` |
//!
//! One variable for each generation: a single one for "the revision on trial" was dropped, because
//! two on trial would forget each other's tries and be started in turns for ever. Generations never
//! come back, so an old variable does no harm; [`Environment::keep_only`] makes room.
//!
//! Variables of others are kept, in their place.

mod format;
mod reader;
mod writer;

use std::fmt;

use format::{LEFT_PREFIX, ONE_SHOT};
use kiln_boot::entry::{Counter, EntryName, TRIES};

pub use format::LENGTH;

/// An environment block's contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment {
    variables: Vec<Variable>,
    /// Of the block in bytes: GRUB keeps what it finds, and so does this.
    length: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variable {
    name: Vec<u8>,
    value: Vec<u8>,
}

/// The bytes are no environment block, or one that GRUB could not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for Damaged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not a usable environment block: {}", self.reason)
    }
}

impl std::error::Error for Damaged {}

/// The variables have no room in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Bytes that they need.
    pub needed: usize,
    /// Bytes of the block.
    pub available: usize,
}

impl fmt::Display for Full {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the environment block has {} bytes, its variables need {}",
            self.available, self.needed
        )
    }
}

impl std::error::Error for Full {}

impl Default for Environment {
    /// A block without variables, as a new disk has it.
    fn default() -> Self {
        Self { variables: Vec::new(), length: LENGTH }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let pairs = self.variables.iter().map(|one| (text(&one.name), text(&one.value)));
        formatter.debug_map().entries(pairs).finish()
    }
}

impl Environment {
    /// Reads a block.
    ///
    /// # Errors
    /// Where GRUB would refuse it, or could not count in it.
    pub fn parse(block: &[u8]) -> Result<Self, Damaged> {
        reader::parse(block)
    }

    /// The block as bytes, in the length in which it was read, else [`LENGTH`].
    ///
    /// # Errors
    /// [`Full`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, Full> {
        writer::render(self)
    }

    /// Value of a variable; if it is there twice the last one counts, as in GRUB.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.variables.iter().rfind(|variable| variable.name == name.as_bytes());
        found.map(|variable| variable.value.as_slice())
    }

    /// Gives a variable a value, in its old place if it has one.
    fn set(&mut self, name: &str, value: &str) {
        let mut found = false;
        for variable in &mut self.variables {
            if variable.name == name.as_bytes() {
                value.as_bytes().clone_into(&mut variable.value);
                found = true;
            }
        }
        if !found {
            let (name, value) = (name.as_bytes().to_vec(), value.as_bytes().to_vec());
            self.variables.push(Variable { name, value });
        }
    }

    fn remove(&mut self, name: &str) {
        self.variables.retain(|variable| variable.name != name.as_bytes());
    }

    /// The tries that the block holds for a generation; none if it says nothing of it. What is no
    /// single digit counts as no try at all.
    #[must_use]
    pub fn left(&self, generation: u32) -> Option<u8> {
        let value = self.get(&left_variable(generation))?;
        match value {
            // Nothing between the equals sign and the line's end is the same as no variable in
            // GRUB.
            [] => None,
            [digit @ b'0'..=b'9'] => Some(digit - b'0'),
            _ => Some(0),
        }
    }

    /// Writes down the tries of a generation, at most 9; none forgets them, so that the name
    /// counts.
    pub fn set_left(&mut self, generation: u32, left: Option<u8>) {
        let name = left_variable(generation);
        match left {
            Some(left) => self.set(&name, &left.min(9).to_string()),
            None => self.remove(&name),
        }
    }

    /// A boot file's name as the machine should see it: with the tries that are left of it and
    /// those that were used. A name without counter stays as it is.
    #[must_use]
    pub fn counted(&self, entry: EntryName) -> EntryName {
        let counter = entry.counter.map(|Counter { left, done }| {
            let recorded = self.left(entry.generation).unwrap_or(left);
            match left.checked_sub(recorded) {
                // All starts but those that the name tells were counted here.
                Some(started) => Counter { left: recorded, done: done.saturating_add(started) },
                None => Counter { left, done },
            }
        });
        EntryName { counter, ..entry }
    }

    /// Forgets the tries of all generations but these.
    pub fn keep_only(&mut self, generations: &[u32]) {
        let kept: Vec<String> = generations.iter().map(|number| left_variable(*number)).collect();
        self.variables.retain(|variable| {
            let is_counter = variable.name.starts_with(LEFT_PREFIX.as_bytes());
            !is_counter || kept.iter().any(|name| variable.name == name.as_bytes())
        });
    }

    /// Identifier of what shall be started once instead of the default.
    #[must_use]
    pub fn one_shot(&self) -> Option<&str> {
        std::str::from_utf8(self.get(ONE_SHOT)?).ok().filter(|identifier| !identifier.is_empty())
    }

    /// Asks for a boot file to be started once: [`RECOVERY_FILE`](kiln_boot::entry::RECOVERY_FILE),
    /// or that of a generation by [`identifier`]. None takes the wish back.
    pub fn set_one_shot(&mut self, identifier: Option<&str>) {
        match identifier {
            Some(identifier) => self.set(ONE_SHOT, identifier),
            None => self.remove(ONE_SHOT),
        }
    }
}

/// What the loaders call the boot file of a generation, whatever its counter is.
#[must_use]
pub fn identifier(generation: u32) -> String {
    EntryName { generation, counter: None }.to_string()
}

/// Name of the variable with the tries of a generation.
fn left_variable(generation: u32) -> String {
    format!("{LEFT_PREFIX}{generation:08}")
}

/// Tries of a boot file that nobody has started yet, for the block of a new revision.
pub const FRESH: u8 = TRIES;

#[cfg(test)]
mod tests {
    use super::*;
    use format::SIGNATURE;
    use sha2::{Digest, Sha256};

    fn block(lines: &str) -> Vec<u8> {
        let mut block = [SIGNATURE, lines.as_bytes()].concat();
        block.resize(LENGTH, b'#');
        block
    }

    #[test]
    fn bytes_are_pinned() {
        let mut environment = Environment::default();
        environment.set_left(7, Some(2));
        environment.set_one_shot(Some("kiln-recovery.efi"));
        let bytes = environment.to_bytes().unwrap();
        assert_eq!(bytes.len(), LENGTH);
        let digest: String =
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "70ab74050df1776f98520717089c753df3a345c76c646fee38f18d71544abb1f");
        assert_eq!(Environment::parse(&bytes).unwrap(), environment);
    }

    #[test]
    fn what_grub_refuses_is_refused() {
        let good = block("a=b\n");
        assert!(Environment::parse(&good).is_ok());
        let mut turned = good.clone();
        turned[3] ^= 1;
        let cases: [(&str, &[u8]); 6] = [
            ("empty", b""),
            ("zeros", &[0; LENGTH]),
            ("turned", &turned),
            ("short", &SIGNATURE[..20]),
            ("bare", SIGNATURE),
            ("no end", &block("a=b")),
        ];
        for (name, bytes) in cases {
            assert!(Environment::parse(bytes).is_err(), "{name}");
        }
        assert!(Environment::parse(&[SIGNATURE, &[b'#'; 70 << 10]].concat()).is_err());
        // Nothing but filler needs no line of its own.
        assert!(Environment::parse(&block("")).is_ok());
    }

    #[test]
    fn variables_are_read_as_grub_reads_them() {
        let text = "# x=1\na=1\na=2\nb=x\\\\y\\\nz\n\nc d=e=f\nleft_00000009=4\nleft_00000010=33\n\
                    left_00000011=\noneshot=\n";
        let environment = Environment::parse(&block(text)).unwrap();
        for (name, value) in [
            ("a", Some(&b"2"[..])),
            ("b", Some(b"x\\y\nz")),
            // A name goes on until its equals sign, wherever that is.
            ("\nc d", Some(b"e=f")),
            ("x", None),
            ("# x", None),
        ] {
            assert_eq!(environment.get(name), value, "{name}");
        }
        let left = [9, 10, 11, 12].map(|generation| environment.left(generation));
        assert_eq!(left, [Some(4), Some(0), None, None]);
        assert_eq!(environment.one_shot(), None);
        assert_eq!(Environment::parse(&environment.to_bytes().unwrap()).unwrap(), environment);
    }

    #[test]
    fn a_try_changes_one_byte() {
        let mut environment = Environment::default();
        environment.set_left(3, Some(3));
        environment.set_left(4, Some(3));
        let before = environment.to_bytes().unwrap();
        environment.set_left(3, Some(2));
        let after = environment.to_bytes().unwrap();
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert_eq!(changed, 1);
    }

    #[test]
    fn counters_of_names_and_block_become_one() {
        let mut environment = Environment::default();
        environment.set_left(5, Some(1));
        for (name, expected) in [
            ("kiln-00000005+3-0.efi", "kiln-00000005+1-2.efi"),
            ("kiln-00000005+1-2.efi", "kiln-00000005+1-2.efi"),
            ("kiln-00000005+0-3.efi", "kiln-00000005+0-3.efi"),
            ("kiln-00000005.efi", "kiln-00000005.efi"),
            ("kiln-00000006+3-0.efi", "kiln-00000006+3-0.efi"),
        ] {
            let entry: EntryName = name.parse().unwrap();
            assert_eq!(environment.counted(entry).to_string(), expected, "{name}");
        }
    }

    #[test]
    fn room_is_made_and_its_end_is_told() {
        let mut environment = Environment::default();
        for generation in 1..80 {
            environment.set_left(generation, Some(0));
        }
        let full = environment.to_bytes().unwrap_err();
        assert!(full.needed > full.available && full.available == LENGTH, "{full}");
        environment.set_one_shot(Some(&identifier(79)));
        environment.keep_only(&[2, 79]);
        let generations = (1..80).filter(|generation| environment.left(*generation).is_some());
        assert_eq!(generations.collect::<Vec<_>>(), [2, 79]);
        assert_eq!(environment.one_shot(), Some("kiln-00000079.efi"));
        environment.set_one_shot(None);
        environment.set_left(2, None);
        environment.set_left(79, None);
        assert_eq!(environment, Environment::default());
    }

    proptest::proptest! {
        #[test]
        fn rubbish_never_panics(text in "[a=\\\\\n#]{0,40}") {
            if let Ok(environment) = Environment::parse(&block(&text)) {
                // Two line feeds in a row can hide in a name, so only the second round is exact.
                if let Ok(bytes) = environment.to_bytes() {
                    let again = Environment::parse(&bytes).unwrap();
                    proptest::prop_assert_eq!(again.to_bytes().unwrap(), bytes);
                }
            }
        }
    }
}
