//! A client of a released stage.

use serde_json::Value;

/// A client of a stage.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The URL of the stage.
    pub(crate) url: String,
    http: reqwest::Client,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// The header `X-Release`: the release by which API Gateway served the request.
    pub(crate) release: String,
    /// The header `X-Function-Version`: the version of the function that answered.
    pub(crate) function_version: String,
    /// Its content type, in which the releases of these tests differ.
    pub(crate) content_type: String,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Caller {
    /// A client of the stage of a document that deployctl printed.
    pub(crate) fn of(document: &Value) -> Self {
        let url = document["url"].as_str().expect("a url").to_owned();
        Self { url, http: super::http::client() }
    }

    /// Sends a request.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<Answer, reqwest::Error> {
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response = request.send().await?;
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        Ok(Answer {
            status: response.status().as_u16(),
            release: header("x-release"),
            function_version: header("x-function-version"),
            content_type: header("content-type"),
            body: response.text().await?,
        })
    }
}
