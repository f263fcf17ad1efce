//! Fuzzes `kiln_fuzz::configuration_steps`.
#![no_main]

kiln_fuzz_programs::program!(configuration_steps);
