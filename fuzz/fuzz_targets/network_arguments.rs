//! Fuzzes `kiln_fuzz::network_arguments`.
#![no_main]

kiln_fuzz_programs::program!(network_arguments);
