//! Fuzzes `kiln_fuzz::erofs_image`.
#![no_main]

kiln_fuzz_programs::program!(erofs_image);
