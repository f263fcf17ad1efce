//! The network of a namespace: up, used, and gone. Root, `unshare`, `ip` and `dnsmasq` are needed; without
//! them these tests fail.

#![expect(clippy::unwrap_used, reason = "a failing helper must fail its test")]
#![expect(clippy::print_stdout, reason = "what was said is seen when a test fails")]

mod dnsmasq;
mod namespace;
mod scripted;
mod server;
