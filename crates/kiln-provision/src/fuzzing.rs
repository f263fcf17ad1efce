//! Parsers of this crate for the fuzzer (crate `kiln-fuzz`), which cannot reach them otherwise without a
//! firmware or a server. Compiled with the feature `fuzzing` only.

pub use crate::fetch::fuzzing::transfer;
pub use crate::sources::fuzzing::oem_strings;
