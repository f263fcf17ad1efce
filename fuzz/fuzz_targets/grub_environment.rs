//! Fuzzes `kiln_fuzz::grub_environment`.
#![no_main]

kiln_fuzz_programs::program!(grub_environment);
