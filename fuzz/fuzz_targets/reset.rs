//! Fuzzes `kiln_fuzz::reset`.
#![no_main]

kiln_fuzz_programs::program!(reset);
