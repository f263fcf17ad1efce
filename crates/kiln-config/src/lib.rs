//! Configuration of a machine: the dialects that users bring are read, checked and lowered to one
//! ordered list of operations.
//!
//! The way of a document: bytes → [`Node`] tree with the place of every value ([`yaml`], [`json`]) →
//! a dialect's own tree → [`Plan`]. Merging happens only inside a dialect that defines it; what holds
//! across dialects is checked on plans. All that is said about a document is a [`Diagnostic`] with its
//! place, so that a laptop and a console in a rack show the same sentence.
//!
//! Nothing here touches a machine: no file is opened, no address asked, no command run. So every
//! rule can be tested as a table, and `kiln validate` tells on any computer what a machine will do.
//! Deserialising with `serde` straight into structs was dropped: it stops at the first fault, and
//! knows neither where an unknown key stands nor that a key stood there twice.

pub mod action;
pub mod butane;
pub mod check;
mod claims;
pub mod diagnostic;
pub mod elemental;
pub mod fields;
pub mod ignition;
pub mod json;
pub mod mask;
pub mod node;
pub mod operation;
pub mod programs;
pub mod provision;
pub mod source;
pub mod storage;
pub mod suggest;
pub mod template;
pub mod yaml;

pub use action::Action;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use fields::Fields;
pub use node::{Key, Node, Value};
pub use operation::{Operation, Plan, Stage};
pub use source::{Place, SourceId, Sources, Span};
