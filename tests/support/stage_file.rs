//! `.deployctl/local/stage.json`: where deployctl finds the local stage of a project.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The file, as it was when it was read.
#[derive(Debug, Clone)]
pub(crate) struct StageFile {
    path: PathBuf,
    original: Value,
}

/// `.deployctl/local/data/redis.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct RedisFile {
    pub(crate) pid: i32,
    pub(crate) port: u16,
}

impl StageFile {
    /// Reads the file of the project in `folder`.
    pub(crate) fn of(folder: &Path) -> Self {
        let path = folder.join(".deployctl/local/stage.json");
        let original = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        Self { path, original }
    }

    /// The port of the local stage.
    pub(crate) fn port(&self) -> u16 {
        self.number("port")
    }

    /// Its Redis, which runs while something needs it.
    pub(crate) fn redis(&self) -> Option<RedisFile> {
        let text = std::fs::read(self.path.with_file_name("data").join("redis.json")).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// The secret that its requests are signed with.
    pub(crate) fn secret(&self) -> &str {
        self.original["secret"].as_str().unwrap()
    }

    /// The process of its server.
    pub(crate) fn pid(&self) -> i32 {
        self.original["ministack"]["pid"].as_i64().unwrap().try_into().unwrap()
    }

    /// The endpoint of its AWS services.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// Lets deployctl, and Terraform with it, find the stage at another port: that of a proxy.
    pub(crate) fn point_at(&self, port: u16) {
        let mut changed = self.original.clone();
        changed["port"] = json!(port);
        std::fs::write(&self.path, changed.to_string()).unwrap();
    }

    /// Lets deployctl find the stage itself again.
    pub(crate) fn restore(&self) {
        std::fs::write(&self.path, self.original.to_string()).unwrap();
    }

    fn number(&self, name: &str) -> u16 {
        self.original[name].as_u64().unwrap().try_into().unwrap()
    }
}
