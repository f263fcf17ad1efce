//! Fuzzes `kiln_fuzz::release_manifest`.
#![no_main]

kiln_fuzz_programs::program!(release_manifest);
