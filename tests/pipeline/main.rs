//! The pipeline: what GitHub would run, run here; and what AWS would allow, compared with what is asked of it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/bucket.rs"]
mod bucket;
mod build;
mod calls;
mod comment;
mod expression;
mod github;
mod lint;
#[path = "../support/made.rs"]
mod made;
mod permissions;
mod policy;
#[path = "../support/program.rs"]
mod program;
mod recorder;
mod rules;
#[path = "../support/sdk.rs"]
mod sdk;
mod setup;
#[path = "../support/signed.rs"]
mod signed;
mod site;
#[path = "../support/small.rs"]
mod small;
mod supply;
mod trust;
#[path = "../support/upstream.rs"]
mod upstream;
#[path = "../support/wire.rs"]
mod wire;
mod workflows;

use std::path::{Path, PathBuf};

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The programs that check workflows and dependencies, installed once per machine.
async fn tools() -> deployctl::toolbox::Venv {
    let requirements =
        deployctl::toolbox::Requirements { name: "checks", text: include_str!("requirements.txt") };
    let toolbox = deployctl::toolbox::Toolbox::from_env().unwrap();
    let events = deployctl::event::Events::silent();
    toolbox.venv(requirements, &events, &tokio_util::sync::CancellationToken::new()).await.unwrap()
}
