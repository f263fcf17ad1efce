//! Fuzzes `kiln_fuzz::qcow2`.
#![no_main]

kiln_fuzz_programs::program!(qcow2);
