//! Fuzzes `kiln_fuzz::disk_layout`.
#![no_main]

kiln_fuzz_programs::program!(disk_layout);
