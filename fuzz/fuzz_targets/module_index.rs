//! Fuzzes `kiln_fuzz::module_index`.
#![no_main]

kiln_fuzz_programs::program!(module_index);
