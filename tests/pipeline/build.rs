//! `deployctl build`: the zips, and nothing else.

use deployctl::artifact::Sha256;

use crate::small::Small;

#[tokio::test]
async fn a_build_needs_no_stage_and_a_release_needs_no_build() {
    let small = Small::new();
    let built = small.run(&["build", "--into", "zips", "--output", "json"]).await.exit(0).json();
    let zip = &built["artifacts"]["hello"];
    let bytes = std::fs::read(small.path().join("zips/hello.zip")).unwrap();
    assert_eq!(zip["sha256"], Sha256::of(&bytes).hex());
    assert_eq!((&zip["path"], &zip["size"]), (&"zips/hello.zip".into(), &bytes.len().into()));
    let text = small.run(&["build", "--into", "zips"]).await.exit(0).stdout;
    assert_eq!(text, format!("{}  zips/hello.zip\n", Sha256::of(&bytes).hex()), "as sha256sum has it");
    assert!(!small.path().join(".deployctl/local").exists(), "a stage was started");

    // What is not there is not built in its place.
    let release = ["release", "--version", "1.0.0", "--artifacts", "elsewhere"];
    small.run(&release).await.exit(10).says(&["elsewhere/hello.zip"]);
    small.write("file", "");
    let refused = small.run(&["build", "--into", "file"]).await.exit(10);
    refused.says(&["build.not_written", "file/hello.zip"]);
}
