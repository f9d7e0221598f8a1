//! Ids of users: UUIDs in canonical form. No other id is sent to Redis.

use std::fmt;

use uuid::Uuid;

use crate::failure::Failure;

/// A valid id: a UUID in lower case, with hyphens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserId(String);

impl UserId {
    /// A new random id.
    pub fn new_random() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// The id in the path of a request. No user has an id that is not a canonical UUID, so that is `NotFound`.
    pub fn from_path(text: Option<&str>) -> Result<Self, Failure> {
        // API Gateway always passes this parameter of the route.
        let text = text.ok_or_else(|| Failure::BadRequest("the path has no userId".to_owned()))?;
        match Uuid::try_parse(text) {
            Ok(uuid) if uuid.to_string() == text => Ok(Self(text.to_owned())),
            Ok(_) | Err(_) => Err(Failure::NotFound),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: Option<&str>) -> u16 {
        UserId::from_path(text).map_or_else(|failure| failure.status(), |_| 200)
    }

    #[test]
    fn a_canonical_uuid_is_an_id_and_a_new_one_is_canonical() {
        assert_eq!(status(Some("7f8a1c9e-0d4b-4c3e-9a59-1d2f3a4b5c6d")), 200);
        assert_eq!(status(Some(UserId::new_random().as_str())), 200);
    }

    #[test]
    fn any_other_text_names_no_user() {
        let long = "a".repeat(10_000);
        for text in [
            "",
            "42",
            "nobody",
            "a/b",
            "a*",
            "a b",
            "ü",
            "a_b",
            "7f8a1c9e0d4b4c3e9a591d2f3a4b5c6d",
            "7F8A1C9E-0D4B-4C3E-9A59-1D2F3A4B5C6D",
            "{7f8a1c9e-0d4b-4c3e-9a59-1d2f3a4b5c6d}",
            "urn:uuid:7f8a1c9e-0d4b-4c3e-9a59-1d2f3a4b5c6d",
            "7f8a1c9e-0d4b-4c3e-9a59-1d2f3a4b5c6",
            &long,
        ] {
            assert_eq!(status(Some(text)), 404, "{text}");
        }
    }

    #[test]
    fn a_path_without_the_parameter_is_a_bad_request() {
        assert_eq!(status(None), 400);
    }
}
