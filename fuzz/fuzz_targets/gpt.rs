//! Fuzzes `kiln_fuzz::gpt`.
#![no_main]

kiln_fuzz_programs::program!(gpt);
