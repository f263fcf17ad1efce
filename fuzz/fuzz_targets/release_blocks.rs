//! Fuzzes `kiln_fuzz::release_blocks`.
#![no_main]

kiln_fuzz_programs::program!(release_blocks);
