//! What the tests of the users API share: the six functions with a Redis server, and events.

use serde_json::{Value, json};
use shared::aws_secret::SecretClient;
use shared::log::LogContext;
use users::app::App;
use users::response::Response;
use users::settings::Settings;

pub(crate) use test_support::TestResult;
pub(crate) use test_support::redis_server::{RedisServer, free_port};

/// Creates the function with this handler setting, as Lambda starts it.
pub(crate) fn function(handler: &str, port: u16) -> TestResult<Function> {
    function_with(handler, port, &[])
}

/// As [`function`], with additional environment variables.
pub(crate) fn function_with(handler: &str, port: u16, more: &[(&str, &str)]) -> TestResult<Function> {
    let port = port.to_string();
    let defaults = [
        ("_HANDLER", handler),
        ("REDIS_DNS", "127.0.0.1"),
        ("REDIS_PORT", &port),
        ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
    ];
    let lookup = |name: &str| {
        let mut all = more.iter().chain(&defaults);
        all.find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    Ok(Function(App::new(&Settings::from_env(lookup)?, SecretClient::from_env(lookup))?))
}

/// One function.
pub(crate) struct Function(App);

impl Function {
    pub(crate) async fn answer(&self, event: &str) -> Response {
        self.0.answer(event, LogContext::default()).await
    }
}

/// The whole API: the six functions with one Redis server.
pub(crate) struct Api {
    list: Function,
    create: Function,
    delete_all: Function,
    get: Function,
    patch: Function,
    delete: Function,
}

impl Api {
    pub(crate) fn on(port: u16) -> TestResult<Self> {
        Self::with(port, &[])
    }

    pub(crate) fn with(port: u16, more: &[(&str, &str)]) -> TestResult<Self> {
        Ok(Self {
            list: function_with("users_get", port, more)?,
            create: function_with("users_post", port, more)?,
            delete_all: function_with("users_delete", port, more)?,
            get: function_with("user_get", port, more)?,
            patch: function_with("user_patch", port, more)?,
            delete: function_with("user_delete", port, more)?,
        })
    }

    pub(crate) async fn list(&self) -> Response {
        self.list.answer(&event("GET", None, None)).await
    }

    pub(crate) async fn page(&self, query: &Value) -> Response {
        let mut event: Value = serde_json::from_str(&event("GET", None, None)).unwrap_or_default();
        event["queryStringParameters"] = query.clone();
        self.list.answer(&event.to_string()).await
    }

    pub(crate) async fn create(&self, body: &str) -> Response {
        self.create.answer(&event("POST", None, Some(body))).await
    }

    pub(crate) async fn delete_all(&self) -> Response {
        self.delete_all.answer(&event("DELETE", None, None)).await
    }

    pub(crate) async fn get(&self, id: &str) -> Response {
        self.get.answer(&event("GET", Some(id), None)).await
    }

    pub(crate) async fn patch(&self, id: &str, body: &str) -> Response {
        self.patch.answer(&event("PATCH", Some(id), Some(body))).await
    }

    pub(crate) async fn delete(&self, id: &str) -> Response {
        self.delete.answer(&event("DELETE", Some(id), None)).await
    }

    /// Creates a user and returns its id.
    pub(crate) async fn new_user(&self, body: &str) -> TestResult<String> {
        let user = json_of(&self.create(body).await)?;
        Ok(user["id"].as_str().ok_or("the new user has no id")?.to_owned())
    }
}

/// An API Gateway event (payload 1.0) with the fields that the functions read, and some that they ignore.
pub(crate) fn event(method: &str, id: Option<&str>, body: Option<&str>) -> String {
    json!({
        "resource": "/demo/users",
        "httpMethod": method,
        "headers": { "Accept": "*/*" },
        "queryStringParameters": null,
        "pathParameters": id.map(|id| json!({ "userId": id })),
        "stageVariables": { "release": "1.4.2", "users_get": "7" },
        "requestContext": { "stage": "prd", "identity": { "sourceIp": "192.0.2.1" } },
        "body": body,
        "isBase64Encoded": false,
    })
    .to_string()
}

pub(crate) fn json_of(response: &Response) -> TestResult<Value> {
    Ok(serde_json::from_str(&response.body)?)
}
