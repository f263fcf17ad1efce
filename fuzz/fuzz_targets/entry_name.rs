//! Fuzzes `kiln_fuzz::entry_name`.
#![no_main]

kiln_fuzz_programs::program!(entry_name);
