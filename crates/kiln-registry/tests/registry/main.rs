//! Pulling from registries of the lab, from end to end through the public API.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod access;
mod artifacts;
mod documents;
mod downloads;
mod support;
