//! Fuzzes `kiln_fuzz::fat`.
#![no_main]

kiln_fuzz_programs::program!(fat);
