//! The first process: finds the root, proves it, mounts it, hands over
