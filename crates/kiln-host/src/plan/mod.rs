//! What to do, decided from values alone: nothing here reads a disk or a clock.
//!
//! Each plan is made from one [`Machine`](crate::machine::Machine) and carried out by
//! [`crate::execute`]. A plan that cannot be carried out wholly is refused here, before anything
//! is changed.

mod bless;
mod kargs;
mod loader;
mod reconcile;
mod recovery;
mod reset;
mod rollback;
mod upgrade;

#[cfg(test)]
pub(crate) mod test_support;

pub use bless::{Blessing, bless};
pub use kargs::{ArgumentEdit, ArgumentPlan, ArgumentRequest, kernel_arguments, wishes};
pub use loader::{LoaderKept, LoaderOffer, LoaderPlan, LoaderVerdict, loaders};
pub use reconcile::reconcile;
pub use recovery::{Fill, Filling, Unfilled, deployment, deploys_by_itself, fill, into_recovery};
pub use reset::{ResetPlan, ResetRequest, reset, reset_in};
pub use rollback::{Rollback, rollback};
pub use upgrade::{Decision, Offer, Permissions, Plan, Reason, upgrade};
