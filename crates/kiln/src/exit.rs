//! Exit codes and what they mean. Scripts depend on them, so none ever changes its meaning.

/// Done.
pub(crate) const DONE: u8 = 0;
/// Failed; standard error says why and what to do.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage; clap's own code.
pub(crate) const USAGE: u8 = 2;
/// The verb did its work and its verdict is no.
pub(crate) const REFUSED: u8 = 3;
/// There is something to do, which nobody asked for yet.
pub(crate) const AVAILABLE: u8 = 10;
/// Done, and the machine has to restart for it to hold.
pub(crate) const RESTART: u8 = 11;

/// All codes, for the reference.
pub(crate) const CODES: [(u8, &str); 6] = [
    (DONE, "done"),
    (
        FAILED,
        "failed: standard error says why, and behind `hint:` what to do; no output has its name. \
         `kiln validate`: a document has an error, or with `--strict` a warning",
    ),
    (USAGE, "wrong usage: an argument is unknown, missing or malformed; nothing was done"),
    (REFUSED, "`kiln lint` only: the image was read and has a finding as bad as `--deny`"),
    (AVAILABLE, "`kiln upgrade --check` only: there is a release to fetch or to activate"),
    (RESTART, "`kiln provision` only: done, and the kernel arguments of the next boot are others"),
];
