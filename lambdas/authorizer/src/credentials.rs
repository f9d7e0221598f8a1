//! The credentials in the `Authorization` header.
//!
//! | scheme | format | example |
//! |---|---|---|
//! | Basic | base64 of `name:secret` (RFC 7617, UTF-8) | `Basic YWRhOnMzY3JldA==` |
//! | Bearer | `name.secret`; split at the last dot: the name may contain dots, the secret must not | `Bearer ada.s3cret` |
//!
//! A name has 1 to 64 of the characters `A-Z a-z 0-9 _ . -`, which are safe in a Redis key, in a log and as the
//! `principalId` of API Gateway.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

/// The maximum length of a secret. It limits the work for a request with invalid credentials.
const MAX_SECRET_LENGTH: usize = 1024;

/// Some clients leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The event of a REQUEST authorizer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The ARN of the called method: `arn:aws:execute-api:<region>:<account>:<api>/<stage>/<verb>/<path>`.
    pub method_arn: Option<String>,
    headers: Option<BTreeMap<String, Option<String>>>,
    multi_value_headers: Option<BTreeMap<String, Option<Vec<String>>>>,
}

/// A valid user name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(String);

impl UserName {
    /// None if the text is not a valid name.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name and a secret. There is no `Debug`, so that the secret cannot be logged.
#[derive(PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub name: UserName,
    /// The secret, not verified.
    pub secret: String,
}

impl Credentials {
    /// Reads the `Authorization` header. None if it is missing, repeated or malformed.
    pub fn from_event(event: &Event) -> Option<Self> {
        Self::from_header(&event.authorization()?)
    }

    fn from_header(header: &str) -> Option<Self> {
        let (scheme, value) = header.trim().split_once(' ')?;
        let value = value.trim();
        let (name, secret) = if scheme.eq_ignore_ascii_case("Basic") {
            let text = String::from_utf8(BASE64.decode(value).ok()?).ok()?;
            let (name, secret) = text.split_once(':')?;
            (UserName::parse(name)?, secret.to_owned())
        } else if scheme.eq_ignore_ascii_case("Bearer") {
            let (name, secret) = value.rsplit_once('.')?;
            (UserName::parse(name)?, secret.to_owned())
        } else {
            return None;
        };
        (1..=MAX_SECRET_LENGTH).contains(&secret.len()).then_some(Self { name, secret })
    }
}

impl Event {
    /// Header names are case-insensitive. API Gateway sends each header in both maps; `headers` has only the last value. A
    /// request with two `Authorization` headers is ambiguous and rejected.
    fn authorization(&self) -> Option<String> {
        let is_authorization = |name: &String| name.eq_ignore_ascii_case("authorization");
        let multiple = self.multi_value_headers.iter().flatten().filter(|(name, _)| is_authorization(name));
        let mut values: Vec<&String> = multiple.flat_map(|(_, values)| values.iter().flatten()).collect();
        if values.is_empty() {
            let single = self.headers.iter().flatten().filter(|(name, _)| is_authorization(name));
            values = single.filter_map(|(_, value)| value.as_ref()).collect();
        }
        match values.as_slice() {
            [one] => Some((*one).clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(event: serde_json::Value) -> Option<(String, String)> {
        let event: Event = serde_json::from_value(event).ok()?;
        Credentials::from_event(&event).map(|found| (found.name.0, found.secret))
    }

    fn header(value: &str) -> Option<(String, String)> {
        read(json!({ "headers": { "Authorization": value } }))
    }

    fn ada(secret: &str) -> Option<(String, String)> {
        Some(("ada".to_owned(), secret.to_owned()))
    }

    #[test]
    fn basic_and_bearer_are_understood() {
        assert_eq!(header("Basic YWRhOnMzY3JldA=="), ada("s3cret"));
        assert_eq!(header("basic  YWRhOnMzY3JldA"), ada("s3cret"));
        assert_eq!(header("Basic YWRhOmE6Yjpj"), ada("a:b:c"));
        assert_eq!(header("BEARER ada.s3cret"), ada("s3cret"));
        assert_eq!(header("Bearer a.d.a.s3cret"), Some(("a.d.a".to_owned(), "s3cret".to_owned())));
    }

    #[test]
    fn the_header_is_found_in_any_case_and_in_either_map() {
        let one = "Bearer ada.s";
        assert_eq!(read(json!({ "headers": { "authorization": one, "Accept": null } })), ada("s"));
        assert_eq!(
            read(json!({ "headers": null, "multiValueHeaders": { "AUTHORIZATION": [one] } })),
            ada("s")
        );
        let both =
            json!({ "headers": { "Authorization": one }, "multiValueHeaders": { "Authorization": [one] } });
        assert_eq!(read(both), ada("s"));
    }

    #[test]
    fn two_headers_are_none() {
        let two = json!({ "headers": { "Authorization": "Bearer ada.s" },
            "multiValueHeaders": { "Authorization": ["Bearer eve.s", "Bearer ada.s"] } });
        assert_eq!(read(two), None);
        assert_eq!(
            read(json!({ "headers": { "Authorization": "Bearer a.s", "authorization": "Bearer b.s" } })),
            None
        );
    }

    #[test]
    fn anything_else_is_none() {
        let (long_name, long_secret) =
            (format!("Bearer {}.s", "a".repeat(65)), format!("Bearer a.{}", "s".repeat(1025)));
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic %%%",
            "Basic YWRh",
            "Basic Og==",
            "Basic YWRhOg==",
            "Basic //4=",
            "Bearer ada",
            "Bearer .s",
            "Bearer ada.",
            "Bearer a/b.s",
            "Bearer ada:x.s",
            "Bearer ü.s",
            "Digest ada.s",
            &long_name,
            &long_secret,
        ] {
            assert_eq!(header(value), None, "{value}");
        }
        assert_eq!(read(json!({})), None);
    }
}
