//! `yip`: one stage of documents that the call names, with the rules of that fork.

use super::elemental::{CLOUD_INIT, GLOBAL, documents};
use super::flags::{Flag, option};
use super::{HIDDEN, Verb};

const EXECUTOR: &[Flag] = &[option("executor").short('e').ignored("there is one")];

/// The program.
pub(super) const PROGRAM: Verb = Verb {
    name: "yip",
    usage: "SOURCE…",
    becomes: "kiln stage STAGE SOURCE… --dialect yip; a source is a file, a folder, an address, its \
              text or -",
    flags: &[CLOUD_INIT, EXECUTOR, GLOBAL, HIDDEN],
    translate: |parsed, _| documents("yip", parsed, &["--dialect", "yip"]),
};
