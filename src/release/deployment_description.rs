//! What deployctl writes on an API Gateway deployment: its description is the only place for it that a stage
//! carries along. It says which release the snapshot was made for and what the API looked like, and it lets a
//! CreateDeployment whose answer was lost be found again.

use std::fmt;
use std::str::FromStr;

use super::model::Version;
use crate::artifact::Sha256;

/// The description of a deployment that deployctl made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentDescription {
    /// The release it was made for.
    pub(crate) version: Version,
    /// The fingerprint of the API's definition that it froze.
    pub(crate) fingerprint: Sha256,
    /// Unique to the call that made it.
    pub(crate) nonce: String,
}

impl fmt::Display for DeploymentDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deployctl release={} fp={} id={}", self.version, self.fingerprint, self.nonce)
    }
}

/// The deployment was not made by deployctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotOurs;

impl FromStr for DeploymentDescription {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let mut words = text.split(' ');
        let mut field = |name: &str| words.next().and_then(|word| word.strip_prefix(name)).ok_or(NotOurs);
        field("deployctl")?;
        let version = field("release=")?.parse().map_err(|_| NotOurs)?;
        let fingerprint = field("fp=")?.parse().map_err(|_| NotOurs)?;
        let nonce = field("id=")?.to_owned();
        Ok(Self { version, fingerprint, nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_other_descriptions_are_not_ours() {
        let note = DeploymentDescription {
            version: "1.4.2".parse().unwrap(),
            fingerprint: Sha256::of(b"x"),
            nonce: "abc".into(),
        };
        assert_eq!(note.to_string().parse::<DeploymentDescription>(), Ok(note));
        for other in ["", "bootstrap", "deployctl", "deployctl release=1 fp=zz id=1", "deployctl release=a/b"]
        {
            assert_eq!(other.parse::<DeploymentDescription>(), Err(NotOurs), "{other}");
        }
    }
}
