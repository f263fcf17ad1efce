//! Fuzzes `kiln_fuzz::docker_image`.
#![no_main]

kiln_fuzz_programs::program!(docker_image);
