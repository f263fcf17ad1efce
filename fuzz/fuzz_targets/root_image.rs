//! Fuzzes `kiln_fuzz::root_image`.
#![no_main]

kiln_fuzz_programs::program!(root_image);
