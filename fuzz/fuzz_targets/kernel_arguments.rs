//! Fuzzes `kiln_fuzz::kernel_arguments`.
#![no_main]

kiln_fuzz_programs::program!(kernel_arguments);
