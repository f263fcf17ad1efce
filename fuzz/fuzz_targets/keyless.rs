//! Fuzzes `kiln_fuzz::keyless`.
#![no_main]

kiln_fuzz_programs::program!(keyless);
