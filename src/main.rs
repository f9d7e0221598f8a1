//! The program `deployctl`. All of it is in the library.

fn main() -> std::process::ExitCode {
    deployctl::main()
}
