//! Fuzzes `kiln_fuzz::release_boot`.
#![no_main]

kiln_fuzz_programs::program!(release_boot);
