//! Fuzzes `kiln_fuzz::template`.
#![no_main]

kiln_fuzz_programs::program!(template);
