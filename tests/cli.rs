//! The command line and its output, without the project of the repository: input that is refused, what is printed, the

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod cli {
    mod artifact;
    mod bad_input;
    mod docs;
    mod full_disk;
    mod output;
    mod peers;
    mod private_files;
    mod stream;
}
