//! Fuzzes `kiln_fuzz::vmdk`.
#![no_main]

kiln_fuzz_programs::program!(vmdk);
