//! Every rule, one file a subject, in the order in which findings are told: what does not boot
//! first, what is merely large last.

mod boot;
mod hidden;
mod login;
mod persistent;
mod programs;
mod secrets;
mod security;
mod size;

pub use programs::LEGACY_PROGRAMS;

use crate::rule::Rule;

/// All rules.
pub static RULES: &[Rule] = &[
    boot::NO_KERNEL,
    boot::SEVERAL_KERNELS,
    boot::KERNEL_LACKS,
    boot::NO_INIT,
    boot::NO_BOOT_STUB,
    boot::NO_BOOT_LOADER,
    boot::NO_MKFS,
    security::SELINUX_UNLABELLED,
    secrets::SSH_HOST_KEYS,
    secrets::MACHINE_ID,
    secrets::BAKED_SECRETS,
    login::EMPTY_PASSWORD,
    security::SETUID_FILE,
    login::NO_LOGIN,
    programs::FOREIGN_PROGRAMS,
    persistent::PERSISTENT_PROGRAMS,
    hidden::HIDDEN_VAR,
    hidden::HIDDEN_RUN,
    size::LARGE_CACHES,
    size::LARGE_DOCS,
];
