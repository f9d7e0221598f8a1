//! Whether the profile of a stage exists. The SDK's default credentials skip a profile that does not, and then
//! ask the network.

use std::path::PathBuf;

use crate::error::{Error, ErrorId, Result};

/// Checks that the profile that would be used is in a file of the AWS CLI.
///
/// # Errors
/// `aws.credentials` with the profile and the files.
pub(super) fn require(of_stage: Option<&str>) -> Result<()> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(profile) = used(of_stage, &read) else { return Ok(()) };
    let home = std::env::home_dir().unwrap_or_default();
    let file = |name: &str, default: &str| read(name).map_or_else(|| home.join(default), PathBuf::from);
    let config = file("AWS_CONFIG_FILE", ".aws/config");
    let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let text = |file: &PathBuf| std::fs::read_to_string(file).unwrap_or_default();
    if has(&text(&config), &profile) || has(&text(&credentials), &profile) {
        return Ok(());
    }
    let (config, credentials) = (config.display(), credentials.display());
    let message =
        format!("failed to authenticate: there is no profile {profile:?} in {config} or {credentials}");
    let source = if of_stage.is_some() { "`profile` of the stage in deployctl.toml" } else { "AWS_PROFILE" };
    Err(Error::preflight(ErrorId::AwsCredentials, message).hint(format!(
        "nothing was changed; correct {source}, or create the profile with `aws configure sso --profile {}`",
        crate::platform::process::quoted(&profile)
    )))
}

/// The profile that would be used. Keys in the environment take precedence over AWS_PROFILE.
fn used(of_stage: Option<&str>, read: &impl Fn(&str) -> Option<String>) -> Option<String> {
    if of_stage.is_none() && read("AWS_ACCESS_KEY_ID").is_some() {
        return None;
    }
    of_stage.map(str::to_owned).or_else(|| read("AWS_PROFILE"))
}

/// Whether a file has a section for `profile`.
fn has(text: &str, profile: &str) -> bool {
    let sections = text.lines().filter_map(|line| line.trim_start().strip_prefix('[')?.split_once(']'));
    sections.map(|(name, _)| name.trim()).any(|name| {
        let words = name.strip_prefix("profile").filter(|rest| rest.starts_with(char::is_whitespace));
        let name = words.unwrap_or(name).trim();
        name == profile || name.trim_matches(['"', '\'']) == profile
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_of_either_file_is_a_profile() {
        let text = "[default]\n[profile dev]\nregion = x\n  [ profile \"two words\" ] # comment\n[keys]\n[sso-session s]\n";
        for profile in ["default", "dev", "two words", "keys"] {
            assert!(has(text, profile), "{profile}");
        }
        for profile in ["s", "region", "de", "prd", ""] {
            assert!(!has(text, profile), "{profile}");
        }
    }

    #[test]
    fn keys_win_over_the_variable_and_not_over_the_stage() {
        let keys = |name: &str| ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"].contains(&name).then(|| "x".to_owned());
        assert_eq!(used(None, &keys), None);
        assert_eq!(used(Some("dev"), &keys), Some("dev".to_owned()));
        assert_eq!(used(None, &|name| (name == "AWS_PROFILE").then(|| "p".to_owned())), Some("p".to_owned()));
    }
}
