//! Fuzzes `kiln_fuzz::boot_manifest`.
#![no_main]

kiln_fuzz_programs::program!(boot_manifest);
