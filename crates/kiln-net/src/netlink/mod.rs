//! The kernel's interface to links, addresses and routes (rtnetlink(7), linux/rtnetlink.h), as far as
//! this crate needs it.
//!
//! [`requests`] and [`answers`] are bytes and values; [`socket`] carries them. What is unknown in an
//! answer is passed over, so that a newer kernel is no other kernel.

pub mod answers;
pub mod message;
pub mod requests;
pub mod socket;
