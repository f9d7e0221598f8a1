//! Requests to a local stage that are signed by hand, so that a test sees its answers as they are on the wire.

use serde_json::{Value, json};

use super::{sdk, sigv4};

/// Sends signed requests to a local stage.
#[derive(Debug)]
pub(crate) struct Signed {
    http: reqwest::Client,
    endpoint: String,
    secret: String,
}

/// An answer as it is on the wire.
#[derive(Debug)]
pub(crate) struct WireAnswer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The header that names the error, if it is one.
    pub(crate) error: Option<String>,
    /// The body, if it is JSON.
    pub(crate) body: Value,
}

impl Signed {
    /// Requests to the stage that answers at `endpoint`.
    pub(crate) fn new(endpoint: &str) -> Self {
        let http = super::http::client();
        Self { http, endpoint: endpoint.to_owned(), secret: sdk::secret(endpoint) }
    }

    /// Sends one request, and never a second one.
    pub(crate) async fn send(&self, service: &str, method: &str, path: &str, body: &Value) -> WireAnswer {
        let host = self.endpoint.trim_start_matches("http://");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let encoded = path.replace(':', "%3A").replace('$', "%24");
        let what = (method, host, encoded.as_str(), "");
        let signer = ("000000000000", self.secret.as_str());
        let headers = sigv4::headers(signer, service, &sigv4::time(0), what, body.as_bytes());
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.endpoint)).body(body);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.send().await.unwrap();
        let error = answer.headers().get("x-amzn-errortype").map(|code| code.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
        WireAnswer { status, error, body }
    }

    /// Sets how long the changes of the stage take, such as `pending_seconds`.
    pub(crate) async fn set_times(&self, seconds: &[(&str, f64)]) {
        let body: serde_json::Map<_, _> =
            seconds.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let answer = self.send("local", "PUT", "/_deployctl/settings", &body.into()).await;
        assert_eq!(answer.status, 200, "{seconds:?}");
    }

    /// Makes a version of a function inactive, as AWS does when it is idle for weeks.
    pub(crate) async fn make_inactive(&self, function: &str, version: &str) {
        let path = format!("/_deployctl/functions/{function}/{version}/inactive");
        assert_eq!(self.send("local", "PUT", &path, &Value::Null).await.status, 200, "{path}");
    }
}
