//! Fuzzes `kiln_fuzz::signature`.
#![no_main]

kiln_fuzz_programs::program!(signature);
