//! `required_version`: the versions of deployctl that may use the project.

use std::path::Path;

use semver::{Version, VersionReq};

use crate::error::{Error, ErrorId, Result};

/// Refuses a file that requires another deployctl than the `running` one. An invalid requirement is reported
/// with the other problems of the file.
///
/// This check comes first: a file for a newer deployctl may have keys that this one does not know.
///
/// # Errors
/// `config.required_version`.
pub(super) fn check(required: Option<&str>, path: &Path, running: &str) -> Result<()> {
    let (Some(Ok(requirement)), Ok(version)) = (required.map(parse), Version::parse(running)) else {
        return Ok(());
    };
    if requirement.matches(&version) {
        return Ok(());
    }
    let message = format!("{} requires deployctl {requirement}, and this is {version}", path.display());
    Err(Error::usage(ErrorId::ConfigRequiredVersion, message).hint(format!(
        "nothing was changed; install a deployctl that matches {requirement}, as the rest of the team has it, or \
         change `required_version`"
    )))
}

/// # Errors
/// When the text is not a version requirement.
pub(super) fn parse(text: &str) -> Result<VersionReq, semver::Error> {
    VersionReq::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_and_a_newer_deployctl_are_refused() {
        let path = Path::new("deployctl.toml");
        for (required, running, accepted) in [
            (">= 0.2, < 0.4", "0.2.0", true),
            (">= 0.2, < 0.4", "0.3.9", true),
            (">= 0.2, < 0.4", "0.1.9", false),
            (">= 0.2, < 0.4", "0.4.0", false),
            ("0.2", "0.2.7", true),
            ("0.2", "0.3.0", false),
            ("=1.4.2", "1.4.3", false),
            ("*", "0.1.0", true),
        ] {
            let result = check(Some(required), path, running);
            assert_eq!(result.is_ok(), accepted, "{required} and {running}");
            if let Err(error) = result {
                assert_eq!((error.kind.exit_code(), error.id), (2, ErrorId::ConfigRequiredVersion));
                let message = error.to_string();
                assert!(message.contains(&parse(required).unwrap().to_string()), "{message}");
                assert!(message.ends_with(&format!("and this is {running}")), "{message}");
            }
        }
        assert!(check(None, path, "0.1.0").is_ok());
    }
}
