//! Texts that are compared as a whole with a file of `tests/*/snapshots`. `INSTA_UPDATE=always` writes the files anew.

/// What differs from run to run, and what stands for it in a snapshot.
const VARIABLE: [(&str, &str); 15] = [
    (r"\b[0-9a-f]{64}\b", "[sha256]"),
    (r"\b[A-Za-z0-9+/]{43}=", "[sha256]"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "[time]"),
    (r"\b\d+ (s|min) ago +", "[duration] ago  "),
    (r"\b\d+ (s|min) ago\b", "[duration] ago"),
    (r"\bwhen +action", "when  action"),
    (r"\b\d+(\.\d+)? (ms|s)\b", "[duration]"),
    (r"127\.0\.0\.1:\d+", "[local stage]"),
    (r"execute-api/[a-z0-9]+/", "execute-api/[id]/"),
    (r"deployment [a-z0-9]{6,10}\b", "deployment [id]"),
    (r"\bapi( +)[a-z0-9]{6,10} deployment", "api$1[id] deployment"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "[uuid]"),
    // The beginnings of hashes: the artifact is an executable of this machine's architecture.
    (r"\b[0-9a-f]{12} \(", "[sha256] ("),
    (r"version (\d+) [0-9a-f]{12}\n", "version $1 [sha256]\n"),
    (r"/tmp/\.tmp\w+", "[project]"),
];

/// Settings of a snapshot in which what differs from run to run is replaced.
pub(crate) fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    for (pattern, replacement) in VARIABLE {
        settings.add_filter(pattern, replacement);
    }
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings
}
