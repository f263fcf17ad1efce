//! Fuzzes `kiln_fuzz::ledger`.
#![no_main]

kiln_fuzz_programs::program!(ledger);
