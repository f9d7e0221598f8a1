//! `deployctl build`: the zips, and nothing else.

use crate::support::digest::sha256_hex;

use crate::support::minimal_project::MinimalProject;

#[tokio::test]
async fn a_build_needs_no_stage_and_a_release_needs_no_build() {
    let project = MinimalProject::new();
    let built = project.run(&["build", "--into", "zips", "--output", "json"]).await.exit(0).json();
    let zip = &built["artifacts"]["hello"];
    let bytes = std::fs::read(project.path().join("zips/hello.zip")).unwrap();
    assert_eq!(zip["sha256"], sha256_hex(&bytes));
    assert_eq!((&zip["path"], &zip["size"]), (&"zips/hello.zip".into(), &bytes.len().into()));
    let text = project.run(&["build", "--into", "zips"]).await.exit(0).stdout;
    assert_eq!(text, format!("{}  zips/hello.zip\n", sha256_hex(&bytes)), "as sha256sum has it");
    assert!(!project.path().join(".deployctl/local").exists(), "a stage was started");

    // What is not there is not built in its place.
    let release = ["release", "--version", "1.0.0", "--artifacts", "elsewhere"];
    project.run(&release).await.exit(10).says(&["elsewhere/hello.zip"]);
    project.write("file", "");
    let refused = project.run(&["build", "--into", "file"]).await.exit(10);
    refused.says(&["build.not_written", "file/hello.zip"]);
}
