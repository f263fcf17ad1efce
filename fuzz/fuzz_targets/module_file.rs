//! Fuzzes `kiln_fuzz::module_file`.
#![no_main]

kiln_fuzz_programs::program!(module_file);
