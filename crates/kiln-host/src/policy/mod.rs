//! Whose images this machine takes: read from the verified root, decided before anything is fetched.
//!
//! The running release says what may replace it. Its policy, keys and trust roots lie in the root that was proved
//! at boot, so nobody who can only write state, configuration or a registry changes them; what
//! `/etc/kiln` says counts where the root's policy lets it. A policy that cannot be read refuses
//! everything: taking it for absent was dropped, because breaking a file must not lift a lock.

mod format;
mod read;

pub use format::{FORMAT, File, Keyless, ListedSigner, MAXIMUM_LENGTH, Signatures};
pub use read::{Policy, read};
