//! Boot files: initramfs, UKI, entry names and their order
