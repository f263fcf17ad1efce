//! Fuzzes `kiln_fuzz::release_table`.
#![no_main]

kiln_fuzz_programs::program!(release_table);
