//! Fuzzes `kiln_fuzz::configuration`.
#![no_main]

kiln_fuzz_programs::program!(configuration);
