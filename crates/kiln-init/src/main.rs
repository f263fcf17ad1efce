//! The first process of a machine. Everything is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    kiln_init::run()
}
