//! The description that deployctl gives an API Gateway deployment: the only field of a deployment for own
//! data. It has the release and the fingerprint of the API, and identifies a deployment whose
//! CreateDeployment answer was lost.

use std::fmt;
use std::str::FromStr;

use super::model::Version;
use crate::artifact::Sha256;

/// The description of a deployment that deployctl created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentDescription {
    /// The release that it was created for.
    pub(crate) version: Version,
    /// The fingerprint of the API definition that it froze.
    pub(crate) fingerprint: Sha256,
    /// Unique to the CreateDeployment call.
    pub(crate) nonce: String,
}

impl fmt::Display for DeploymentDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deployctl release={} fp={} id={}", self.version, self.fingerprint, self.nonce)
    }
}

/// The deployment was not created by deployctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignDescription;

impl FromStr for DeploymentDescription {
    type Err = ForeignDescription;

    fn from_str(text: &str) -> Result<Self, ForeignDescription> {
        let mut words = text.split(' ');
        let mut field =
            |name: &str| words.next().and_then(|word| word.strip_prefix(name)).ok_or(ForeignDescription);
        field("deployctl")?;
        let version = field("release=")?.parse().map_err(|_| ForeignDescription)?;
        let fingerprint = field("fp=")?.parse().map_err(|_| ForeignDescription)?;
        let nonce = field("id=")?.to_owned();
        Ok(Self { version, fingerprint, nonce })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_back_and_others_are_foreign() {
        let description = DeploymentDescription {
            version: "1.4.2".parse().unwrap(),
            fingerprint: Sha256::of(b"x"),
            nonce: "abc".into(),
        };
        assert_eq!(description.to_string().parse::<DeploymentDescription>(), Ok(description));
        for other in ["", "bootstrap", "deployctl", "deployctl release=1 fp=zz id=1", "deployctl release=a/b"]
        {
            assert_eq!(other.parse::<DeploymentDescription>(), Err(ForeignDescription), "{other}");
        }
    }
}
