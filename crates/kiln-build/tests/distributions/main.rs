//! Images in the shapes of real distributions go through the whole build, and what the root then
//! holds is what a naive unpacking of the same layers gives: every path, mode, owner, time,
//! attribute, content and hard link.
//!
//! The images are synthetic. What is checked is that Kiln knows the places and names of each
//! distribution and loses nothing; whether a real kernel boots is for the tests with machines.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]
#![expect(unreachable_pub, reason = "modules of a test program have nobody outside")]

mod arm64;
mod derivative;
mod entry;
mod formats;
mod layers;
mod layout;
mod machine;
mod model;
mod programs;
mod readback;
mod refused;
mod settings;
mod shapes;
mod trees;
