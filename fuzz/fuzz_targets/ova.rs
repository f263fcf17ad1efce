//! Fuzzes `kiln_fuzz::ova`.
#![no_main]

kiln_fuzz_programs::program!(ova);
