//! The writable `/etc` of a machine: what of it belongs to a release, what to the machine, what to
//! nobody.
//!
//! - Each release has its own upper half of an overlay ([`upper`]): going back to a release finds the
//!   `/etc` it had. A new one begins with a copy of the one that ran before.
//! - Who the machine is ([`identity`]) belongs to the machine: it goes through every release, forwards
//!   and backwards.
//! - What is writable at all, and what of that stays, is one decision for each boot ([`mounts`]).
//! - Accounts belong to both and are merged entry by entry ([`accounts`]).
//! - What programs derive from the image ([`derived`]) belongs to nobody and is never carried along.
//!
//! A crate of its own, because the first process does this before systemd starts, and the machine's
//! own `kiln` looks at the same folders later; neither may import the other. It mounts nothing and knows
//! no disk: it works on folders, so that all of it is tested on folders. Copying with `rsync` or
//! `cp -a` of the image was dropped: an image need not have them.
//!
//! Folders of the state, format 2 ([`format`](mod@format)):
//!
//! ```text
//! kiln/format                  version of this layout
//! kiln/etc-release             the release whose /etc was mounted last, or `ephemeral`
//! kiln/accounts/<release>/     account files as the release itself has them
//! kiln/hooks/                  what hooks wrote for a system that does not run yet ([`hook`])
//! kiln/usr-release             the release whose changed programs were mounted last
//! etc/<release>/               upper half of /etc
//! usr/<release>/<name>/        upper halves of what the release brings itself, where they are wanted
//! overlay/<name>/              changes of a folder of the machine: `upper`, or all of it: `bind`
//! identity/machine-id          machine-id(5)
//! identity/hostname            hostname(5), if it was changed here
//! identity/ssh/                host keys, sshd(8)
//! ```

pub mod accounts;
pub mod copy;
pub mod derived;
mod error;
mod family;
pub mod file;
pub mod format;
pub mod hook;
pub mod identity;
pub mod mode;
pub mod mounts;
pub mod password;
pub mod release;
pub mod upper;

pub use error::Error;
pub use mode::EtcMode;
