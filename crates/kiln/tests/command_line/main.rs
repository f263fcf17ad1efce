//! The command line from outside: what users type, what they see, what is left on their disk.
//!
//! The real program runs with an empty environment on images of a few kilobytes. What the crates
//! below do in detail is tested there; here it counts that all of it reaches the user.
#![expect(clippy::unwrap_used, reason = "helpers of tests; what fails here fails the test")]
#![expect(unreachable_pub, reason = "modules of a test program have nobody outside")]

mod addons;
mod build;
mod configuration;
mod containerfile;
mod diff;
mod disk_full;
mod faults;
mod fixture;
mod hooks;
mod install;
mod legacy;
mod life;
mod machine;
mod media;
mod provision;
mod push;
mod signatures;
mod stage;
mod verbs;
