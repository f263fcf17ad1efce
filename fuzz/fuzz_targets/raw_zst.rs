//! Fuzzes `kiln_fuzz::raw_zst`.
#![no_main]

kiln_fuzz_programs::program!(raw_zst);
