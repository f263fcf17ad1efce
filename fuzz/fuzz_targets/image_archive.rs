//! Fuzzes `kiln_fuzz::image_archive`.
#![no_main]

kiln_fuzz_programs::program!(image_archive);
