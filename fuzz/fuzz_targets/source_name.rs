//! Fuzzes `kiln_fuzz::source_name`.
#![no_main]

kiln_fuzz_programs::program!(source_name);
