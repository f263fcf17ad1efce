//! Fuzzes `kiln_fuzz::layer_merge`.
#![no_main]

kiln_fuzz_programs::program!(layer_merge);
