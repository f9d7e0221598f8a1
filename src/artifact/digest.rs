//! The SHA-256 of an artifact, as it appears in file names, S3 checksums and Lambda's `CodeSha256`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::platform;

/// A SHA-256. Text and JSON contain it in hex, S3 and Lambda use [`Sha256::base64`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sha256([u8; 32]);

impl Sha256 {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        // Fast also in a build without optimisations.
        let mut sha256 = [0; SHA256_OUTPUT_LEN];
        sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(sha256)
    }

    /// 64 lower-case hex digits.
    pub(crate) fn hex(&self) -> String {
        platform::hex(self.0)
    }

    /// The first 12 hex digits: unique among the artifacts of a project. Text shows commits at this length too.
    pub(crate) fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// The form of S3's `ChecksumSHA256` and Lambda's `CodeSha256`.
    pub(crate) fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

impl schemars::JsonSchema for Sha256 {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a SHA-256 in hex (64 digits) or base64 (44 characters)")]
pub(crate) struct NotSha256(String);

impl FromStr for Sha256 {
    type Err = NotSha256;

    /// Accepts both forms; their lengths differ.
    fn from_str(text: &str) -> Result<Self, NotSha256> {
        let bytes = if text.len() == 64 { from_hex(text) } else { STANDARD.decode(text).ok() };
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or_else(|| NotSha256(text.to_owned()))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<u32>>>()?;
    digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn both_forms_are_written_and_parsed() {
        let digest = Sha256::of(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(digest.base64(), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(ABC.parse(), Ok(digest));
        assert_eq!(ABC.to_uppercase().parse(), Ok(digest));
        assert_eq!(digest.base64().parse(), Ok(digest));
        assert_eq!(digest.short(), "ba7816bf8f01");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Sha256>(&json).unwrap(), digest);
    }

    #[test]
    fn anything_else_is_refused() {
        let multibyte = "é".repeat(32);
        for text in ["", "abc", &ABC[1..], &ABC.replace('b', "g"), "AAAA", &multibyte] {
            assert_eq!(text.parse::<Sha256>(), Err(NotSha256(text.to_owned())), "{text}");
        }
    }
}
