//! Fuzzes `kiln_fuzz::os_release`.
#![no_main]

kiln_fuzz_programs::program!(os_release);
