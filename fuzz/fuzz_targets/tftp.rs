//! Fuzzes `kiln_fuzz::tftp`.
#![no_main]

kiln_fuzz_programs::program!(tftp);
