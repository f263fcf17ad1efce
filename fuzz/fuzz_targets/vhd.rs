//! Fuzzes `kiln_fuzz::vhd`.
#![no_main]

kiln_fuzz_programs::program!(vhd);
