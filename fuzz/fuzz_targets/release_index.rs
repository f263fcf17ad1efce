//! Fuzzes `kiln_fuzz::release_index`.
#![no_main]

kiln_fuzz_programs::program!(release_index);
