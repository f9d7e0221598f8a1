//! A stream of 100 MB through the driver, in bounded memory. The test runs itself again in a process of its own, because it
//! measures the peak memory of its process.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deployctl::terraform::{Activity, Driver, Layer, Observer, PlanOptions, PlanOutcome, Terraform};
use tokio_util::sync::CancellationToken;

use crate::support::test_process;

/// What it writes is recorded from a real plan; how often is up to us.
const MESSAGE: &str = r#"{"@level":"info","@message":"aws_lambda_function.this: Refreshing state... [id=users]","@module":"terraform.ui","@timestamp":"2026-11-22T21:30:00.000000Z","hook":{"resource":{"addr":"aws_lambda_function.this","module":"","resource":"aws_lambda_function.this","implied_provider":"aws","resource_type":"aws_lambda_function","resource_name":"this","resource_key":null},"id_key":"id","id_value":"users"},"type":"refresh_start"}"#;

const BYTES: u64 = 100_000_000;

/// Set in the process that measures.
/// The message without which a plan is not believed.
const SUMMARY: &str =
    r#"{"type":"change_summary","changes":{"add":0,"change":0,"remove":0,"operation":"plan"}}"#;

const ALONE: &str = "DEPLOYCTL_TEST_ALONE";

#[tokio::test]
async fn a_hundred_megabytes_pass_in_bounded_memory() {
    if std::env::var_os(ALONE).is_none() {
        let mut alone = test_process::of(module_path!(), "a_hundred_megabytes_pass_in_bounded_memory");
        let output = alone.env(ALONE, "1").output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer {
        name: "big".into(),
        dir: dir.path().join("big"),
        depends_on: Vec::new(),
        var_files: Vec::new(),
    };
    std::fs::create_dir(&layer.dir).unwrap();
    std::fs::write(layer.dir.join("main.tf"), "").unwrap();
    let program = dir.path().join("terraform");
    let script = format!(
        "#!/bin/sh\ncase $1 in version) echo 'Terraform v1.11.4' ;; plan) yes '{MESSAGE}' | head -c {BYTES} ; echo ; \
         echo '{SUMMARY}' ;; esac\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();

    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    let observer = Observer::new(move |activity| {
        if matches!(activity, Activity::Message { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let terraform = Terraform::locate(&program, dir.path(), &CancellationToken::new()).await.unwrap();
    let driver = Driver { observer, ..Driver::new(terraform, "test", dir.path().join("data")) };
    let before = peak_kib();
    let outcome = driver.plan(&layer, PlanOptions::default()).await.unwrap();
    assert!(matches!(outcome, PlanOutcome::NoChanges { .. }));
    let messages = BYTES / (MESSAGE.len() as u64 + 1);
    assert!(heard.load(Ordering::Relaxed) >= messages, "{heard:?} of {messages} messages arrived");
    let grown = peak_kib() - before;
    assert!(grown < 32 * 1024, "the peak of memory grew by {grown} KiB");
}

/// The most memory this program has had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
