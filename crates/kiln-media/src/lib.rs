//! Boot media: raw disks and qcow2
