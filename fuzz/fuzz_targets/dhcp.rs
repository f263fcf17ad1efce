//! Fuzzes `kiln_fuzz::dhcp`.
#![no_main]

kiln_fuzz_programs::program!(dhcp);
