//! Checks whether the artifacts of the last build would start on Lambda.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::artifact::{Origin, archive, elf};
use crate::documents::doctor::{Finding, Severity};
use crate::project::settings::Settings;
use crate::release::artifacts::ArtifactSettings;

const CHECK: &str = "artifacts";

pub(crate) fn built(settings: &Settings) -> Vec<Finding> {
    settings.artifacts.iter().map(|artifact| examine(settings, artifact)).collect()
}

fn examine(settings: &Settings, artifact: &ArtifactSettings) -> Finding {
    let recipe = &artifact.recipe;
    let name = &recipe.name;
    let file = match &recipe.origin {
        Origin::Path(path) => Some(settings.root.join(path)).filter(|path| path.exists()),
        Origin::Package { .. } => newest(&settings.work_dir().join("artifacts"), name),
        Origin::Image(image) => {
            return Finding::ok(
                CHECK,
                format!("{name}: container image {}; a release does not read it", image.uri),
            );
        }
    };
    let Some(file) = file else {
        return match &recipe.origin {
            Origin::Path(path) => Finding::problem(
                CHECK,
                format!("{name}: {} does not exist", path.display()),
                "build it, or correct its `path` in deployctl.toml",
            ),
            Origin::Package { .. } | Origin::Image(_) => {
                Finding::ok(CHECK, format!("{name}: not built yet; a release builds and checks it"))
            }
        };
    };
    let checked = std::fs::read(&file).map_err(|error| error.to_string()).map(|bytes| {
        let bootstrap = if archive::is_zip(&bytes) {
            archive::open(name, bytes).map(|opened| opened.bootstrap)
        } else {
            Ok(Some(bytes))
        };
        let check = |bytes: Vec<u8>| elf::check_bootstrap(name, &bytes, recipe.architecture, recipe.glibc);
        bootstrap.and_then(|bootstrap| bootstrap.map_or(Ok(None), check))
    });
    match checked {
        Ok(Ok(None)) => {
            let text =
                format!("{name}: a zip without a compiled `bootstrap`, for a managed runtime or a script");
            Finding::ok(CHECK, text)
        }
        Ok(Ok(Some(facts))) => {
            let glibc = facts.glibc.map_or_else(|| "static".to_owned(), |glibc| format!("glibc {glibc}"));
            Finding::ok(
                CHECK,
                format!("{name}: {}, {glibc}, for a runtime with glibc {}", facts.architecture, recipe.glibc),
            )
        }
        Ok(Err(error)) => Finding::of(CHECK, Severity::Problem, &error.into()),
        Err(why) => Finding::unchecked(CHECK, format!("{name}: failed to read {}: {why}", file.display())),
    }
}

fn newest(folder: &Path, name: &str) -> Option<PathBuf> {
    let is_zip_of_it = |path: &PathBuf| {
        let file = path.file_name()?.to_str()?;
        // `<name>-<hash>.zip`: the name of another artifact may begin with this one's.
        let hash = file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".zip")?;
        hash.chars().all(|c| c.is_ascii_hexdigit()).then_some(())
    };
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let modified =
        |path: &PathBuf| path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    entries.map(|entry| entry.path()).filter(|path| is_zip_of_it(path).is_some()).max_by_key(modified)
}
