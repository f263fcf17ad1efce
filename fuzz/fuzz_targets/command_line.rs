//! Fuzzes `kiln_fuzz::command_line`.
#![no_main]

kiln_fuzz_programs::program!(command_line);
