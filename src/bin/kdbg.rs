//! The program that a person runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    kdbg::cli::main()
}
