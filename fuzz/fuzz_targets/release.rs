//! Fuzzes `kiln_fuzz::release`.
#![no_main]

kiln_fuzz_programs::program!(release);
