//! Fuzzes `kiln_fuzz::oem_strings`.
#![no_main]

kiln_fuzz_programs::program!(oem_strings);
