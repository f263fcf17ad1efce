//! Fuzzes `kiln_fuzz::accounts`.
#![no_main]

kiln_fuzz_programs::program!(accounts);
