//! Fuzzes `kiln_fuzz::mounts`.
#![no_main]

kiln_fuzz_programs::program!(mounts);
