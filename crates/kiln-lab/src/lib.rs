//! The test kit: virtual machines, fixtures, oracles
