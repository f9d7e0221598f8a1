//! checkov: rules that many have collected. What is not followed says why, beside the resource.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::terraform;

const REQUIREMENTS: &str = include_str!("requirements.txt");

#[tokio::test]
async fn every_rule_is_followed_or_its_exception_explained() {
    let programs = crate::support::python_tools::install("checkov", REQUIREMENTS).await;
    let scan = Command::new(programs.join("checkov"))
        .args([
            "--framework",
            "terraform",
            "--skip-download",
            "--soft-fail",
            "--output",
            "json",
            "--directory",
        ])
        .arg(terraform())
        // A configuration of the developer's own must not count.
        .current_dir(Path::new(env!("CARGO_TARGET_TMPDIR")))
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    assert!(scan.status.success(), "{}", String::from_utf8_lossy(&scan.stderr));
    let said = String::from_utf8(scan.stdout).unwrap();
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}:\n{said}"));
    let all = |kind: &str| report["results"][kind].as_array().cloned().unwrap_or_default();
    let count = |kind: &str| report["summary"][kind].as_u64().unwrap_or_default();
    let told = |check: &Value| {
        format!("{} {} ({})", text(&check["check_id"]), text(&check["resource"]), text(&check["check_name"]))
    };
    let failed: Vec<String> = all("failed_checks").iter().map(told).collect();
    assert_eq!(failed, Vec::<String>::new(), "follow the rule, or explain with `# checkov:skip=ID: reason`");
    assert_eq!(report["summary"]["parsing_errors"], 0, "a file that checkov cannot read is not checked");
    assert!(count("passed") > 100, "{} rules passed: was anything scanned?", count("passed"));
    assert!(count("resource_count") > 40);

    // An exception that no rule asks for any more is a lie.
    let used: BTreeSet<(String, String)> = all("skipped_checks")
        .iter()
        .map(|check| {
            let resource = text(&check["resource"]);
            let resource = resource.split('[').next().unwrap_or_default().to_owned();
            let reason = text(&check["check_result"]["suppress_comment"]);
            assert!(reason.split_whitespace().count() >= 4, "{}: {reason:?} explains nothing", told(check));
            (text(&check["check_id"]), resource)
        })
        .collect();
    let written: usize = files(&terraform()).iter().map(|text| text.matches("# checkov:skip=").count()).sum();
    assert_eq!(used.len(), written, "exceptions that are used, and those that are written: {used:#?}");
}

/// The text of every file of configuration below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "tf") {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    texts
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
