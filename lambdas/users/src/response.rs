//! The response of a function, which API Gateway turns into an HTTP response.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::failure::Failure;

/// Lambda's limit is 6 MB. This leaves room for the JSON around the body.
pub const MAX_RESPONSE_SIZE: usize = 6 * 1024 * 1024 - 4096;
/// A longer value is not copied into a header.
const MAX_HEADER_LENGTH: usize = 128;

/// A proxy integration's response (payload format 1.0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// The HTTP status.
    pub status_code: u16,
    /// The headers.
    pub headers: BTreeMap<&'static str, String>,
    /// The body: JSON, or empty.
    pub body: String,
    /// Always false.
    pub is_base64_encoded: bool,
}

impl Response {
    /// A response with this JSON text as its body, or an error response if the body is too large for Lambda.
    pub fn new(status: u16, body: String) -> Self {
        if size_in_json(&body) > MAX_RESPONSE_SIZE {
            let why = "the answer is larger than the 6 MB that can be sent at once";
            return Self::from_failure(&Failure::TooLarge(why.to_owned()));
        }
        Self::json(status, body)
    }

    /// A response whose JSON body is known to be small enough.
    pub(crate) fn json(status: u16, body: String) -> Self {
        Self {
            status_code: status,
            headers: BTreeMap::from([("Content-Type", "application/json".to_owned())]),
            body,
            is_base64_encoded: false,
        }
    }

    /// The response to an OPTIONS request.
    pub fn for_options(allow: &str) -> Self {
        let headers = BTreeMap::from([("Allow", allow.to_owned())]);
        Self { status_code: 204, headers, body: String::new(), is_base64_encoded: false }
    }

    /// The response of a failure: `{"code": …, "error": …}`.
    pub fn from_failure(failure: &Failure) -> Self {
        let body = serde_json::json!({ "code": failure.code(), "error": failure.to_string() });
        let response = Self::json(failure.status(), body.to_string());
        match failure {
            Failure::WrongMethod { allowed } => response.set_header("Allow", allowed),
            _ => response,
        }
    }

    /// Removes the body, for HEAD.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.body.clear();
        self
    }

    /// Adds the CORS headers for this origin.
    #[must_use]
    pub fn with_cors(self, origin: &str) -> Self {
        let preflight = self.status_code == 204;
        let methods = self.headers.get("Allow").cloned().unwrap_or_default();
        let response = self
            .set_header("Access-Control-Allow-Origin", origin)
            .set_header("Access-Control-Expose-Headers", "X-Release, X-Function-Version, X-Caller");
        // A cache must not return the response for one origin to another.
        let response = if origin == "*" { response } else { response.set_header("Vary", "Origin") };
        if preflight {
            response
                .set_header("Access-Control-Allow-Methods", &methods)
                .set_header("Access-Control-Allow-Headers", "Authorization, Content-Type")
                .set_header("Access-Control-Max-Age", "600")
        } else {
            response
        }
    }

    /// Adds a header with a trusted value.
    fn set_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.to_owned());
        self
    }

    /// Adds a header if the value is safe in one.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: Option<&str>) -> Self {
        let is_safe = |value: &&str| {
            !value.is_empty()
                && value.len() <= MAX_HEADER_LENGTH
                && value.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if let Some(value) = value.filter(is_safe) {
            self.headers.insert(name, value.to_owned());
        }
        self
    }
}

/// The length of the text as a JSON string, where quotes and some other characters are escaped. Lambda's limit applies to
/// the whole response, in which the body is such a string.
pub fn size_in_json(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_escaped_text() -> Result<(), serde_json::Error> {
        for text in ["", r#"{"a":"\u00e4\\"}"#, "tab\tline\r\nzero\u{0}bell\u{7}", "ä€😀\u{7f}"] {
            // The size may be too large: characters with a short escape may be counted as a long one.
            assert!(size_in_json(text) + 2 >= serde_json::to_string(text)?.len(), "{text:?}");
        }
        Ok(())
    }

    #[test]
    fn an_answer_that_lambda_cannot_carry_is_an_error() {
        // 3 MB of quotes and 1: the text is smaller than the limit, the escaped text is not.
        let response = Response::new(200, "\"".repeat(3 * 1024 * 1024 + 1));
        assert_eq!(response.status_code, 413);
        assert!(response.body.contains("6 MB"));
    }

    #[test]
    fn cors_headers_name_the_origin_and_a_preflight_the_methods() {
        let response = Response::for_options("GET, OPTIONS").with_cors("https://a.example");
        let header = |name| response.headers.get(name).map(String::as_str);
        assert_eq!(header("Access-Control-Allow-Origin"), Some("https://a.example"));
        assert_eq!(header("Access-Control-Allow-Methods"), Some("GET, OPTIONS"));
        assert_eq!(header("Vary"), Some("Origin"));
        let plain = Response::new(200, "[]".to_owned()).with_cors("*");
        assert!(!plain.headers.contains_key("Vary") && !plain.headers.contains_key("Access-Control-Max-Age"));
    }

    #[test]
    fn a_header_takes_only_what_is_safe_in_one() {
        let header = |value| {
            Response::new(200, String::new()).with_header("X-Release", value).headers.remove("X-Release")
        };
        assert_eq!(header(Some("1.4.2-rc.1+build")).as_deref(), Some("1.4.2-rc.1+build"));
        let long = "1".repeat(129);
        for unsafe_value in
            [None, Some(""), Some("a\r\nSet-Cookie: x"), Some("a b"), Some("ü"), Some(long.as_str())]
        {
            assert_eq!(header(unsafe_value), None, "{unsafe_value:?}");
        }
    }
}
