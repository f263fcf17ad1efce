//! What to do, decided from values alone: nothing here reads a disk or a clock.
//!
//! Each plan is made from one [`Machine`](crate::machine::Machine) and carried out by
//! [`crate::execute`]. A plan that cannot be carried out wholly is refused here, before anything
//! is changed.

mod bless;
mod reconcile;
mod rollback;
mod upgrade;

#[cfg(test)]
pub(crate) mod test_support;

pub use bless::{Blessing, bless};
pub use reconcile::reconcile;
pub use rollback::{Rollback, rollback};
pub use upgrade::{Decision, Offer, Permissions, Plan, Reason, upgrade};
