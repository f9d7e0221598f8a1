//! The driver's overhead around a Terraform process: `cargo bench --bench terraform_process`. Compares a
//! script that does nothing with a plan without changes of the driver, which checks whether `init` is needed
//! and handles pipes, guard and plan file. The goal is a difference under 20 ms.
#![expect(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use criterion::{Criterion, criterion_group, criterion_main};
use deployctl::terraform::{Driver, Layer, PlanOptions, PlanOutcome, Terraform};
use tokio_util::sync::CancellationToken;

/// A Terraform that prints its version, and otherwise exits with 0.
const PROGRAM: &str = "#!/bin/sh\ncase $1 in version) echo 'Terraform v1.11.4' ;; esac\n";

async fn driver(dir: &Path) -> Driver {
    let program = dir.join("terraform");
    std::fs::write(&program, PROGRAM).expect("a script in a temporary folder");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let terraform = Terraform::locate(&program, dir, &CancellationToken::new()).await;
    Driver::new(terraform.expect("the script says its version"), "bench", dir.join("data"))
}

fn process(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    // As many files as a real layer has.
    let layer = Layer {
        name: "app".to_owned(),
        dir: dir.path().join("app"),
        depends_on: Vec::new(),
        var_files: Vec::new(),
    };
    std::fs::create_dir(&layer.dir).expect("a folder for the layer");
    for entry in
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/terraform/app")).expect("the example")
    {
        let path = entry.expect("an entry of a folder").path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            std::fs::copy(&path, layer.dir.join(name)).expect("a copy");
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let driver = runtime.block_on(driver(dir.path()));
    runtime.block_on(driver.init_if_needed(&layer)).expect("an init that does nothing");

    let mut group = criterion.benchmark_group("process");
    group.bench_function("bare", |bencher| {
        bencher.iter(|| {
            let mut command = std::process::Command::new(&driver.terraform.program);
            let status = command.arg("plan").stdin(Stdio::null()).stdout(Stdio::null()).status();
            assert!(status.expect("the script runs").success());
        });
    });
    group.bench_function("driver", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                assert!(!driver.init_if_needed(&layer).await.expect("nothing has changed"));
                let outcome = driver.plan(&layer, PlanOptions::default()).await.expect("a plan");
                assert!(matches!(outcome, PlanOutcome::NoChanges { .. }));
            });
        });
    });
    group.finish();
}

criterion_group!(benches, process);
criterion_main!(benches);
