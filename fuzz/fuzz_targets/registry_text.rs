//! Fuzzes `kiln_fuzz::registry_text`.
#![no_main]

kiln_fuzz_programs::program!(registry_text);
