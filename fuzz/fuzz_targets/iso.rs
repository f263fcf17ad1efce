//! Fuzzes `kiln_fuzz::iso`.
#![no_main]

kiln_fuzz_programs::program!(iso);
