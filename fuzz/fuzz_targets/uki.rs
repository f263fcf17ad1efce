//! Fuzzes `kiln_fuzz::uki`.
#![no_main]

kiln_fuzz_programs::program!(uki);
