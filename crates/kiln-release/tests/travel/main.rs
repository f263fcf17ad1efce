//! Releases through a registry of the lab, from end to end through the public API.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod faults;
mod lending;
mod placing;
mod round_trip;
mod signatures;
mod support;
