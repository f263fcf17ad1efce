//! The command line of Kiln.
fn main() {}
