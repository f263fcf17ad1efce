//! Fuzzes `kiln_fuzz::gce`.
#![no_main]

kiln_fuzz_programs::program!(gce);
