//! A released stage as its callers see it.

use serde_json::Value;

/// Somebody who asks a stage.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Where it answers.
    pub url: String,
    http: reqwest::Client,
}

/// What a caller got.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `X-Release`: what API Gateway served the request with.
    pub release: String,
    /// `X-Function-Version`: which code answered.
    pub function_version: String,
    /// What the releases of these tests differ in.
    pub content_type: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Caller {
    /// A caller of the stage that a document of deployctl tells of.
    pub fn of(document: &Value) -> Self {
        let url = document["url"].as_str().expect("a url").to_owned();
        Self { url, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// Sends a request.
    pub async fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, reqwest::Error> {
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
