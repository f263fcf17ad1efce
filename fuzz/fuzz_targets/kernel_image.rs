//! Fuzzes `kiln_fuzz::kernel_image`.
#![no_main]

kiln_fuzz_programs::program!(kernel_image);
