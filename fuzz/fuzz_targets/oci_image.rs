//! Fuzzes `kiln_fuzz::oci_image`.
#![no_main]

kiln_fuzz_programs::program!(oci_image);
