//! What the tests of the users API share: Redis, the six functions against it, and events.

pub mod redis_server;

use serde_json::{Value, json};
use users::app::App;
use users::response::Response;
use users::settings::Settings;

pub use redis_server::{RedisServer, TestResult, free_port};

/// The function with this handler setting, as Lambda would start it.
pub fn function(handler: &str, port: u16) -> TestResult<App> {
    let port = port.to_string();
    let settings = Settings::from_env(|name| match name {
        "_HANDLER" => Some(handler.to_owned()),
        "REDIS_DNS" => Some("127.0.0.1".to_owned()),
        "REDIS_PORT" => Some(port.clone()),
        "AWS_LAMBDA_FUNCTION_VERSION" => Some("7".to_owned()),
        _ => None,
    })?;
    Ok(App::new(&settings)?)
}

/// The whole API: the six functions against one Redis.
pub struct Api {
    list: App,
    create: App,
    delete_all: App,
    get: App,
    patch: App,
    delete: App,
}

impl Api {
    pub fn on(port: u16) -> TestResult<Self> {
        Ok(Self {
            list: function("users_get", port)?,
            create: function("users_post", port)?,
            delete_all: function("users_delete", port)?,
            get: function("user_get", port)?,
            patch: function("user_patch", port)?,
            delete: function("user_delete", port)?,
        })
    }

    pub async fn list(&self) -> Response {
        self.list.answer(&event("GET", None, None)).await
    }

    pub async fn create(&self, body: &str) -> Response {
        self.create.answer(&event("POST", None, Some(body))).await
    }

    pub async fn delete_all(&self) -> Response {
        self.delete_all.answer(&event("DELETE", None, None)).await
    }

    pub async fn get(&self, id: &str) -> Response {
        self.get.answer(&event("GET", Some(id), None)).await
    }

    pub async fn patch(&self, id: &str, body: &str) -> Response {
        self.patch.answer(&event("PATCH", Some(id), Some(body))).await
    }

    pub async fn delete(&self, id: &str) -> Response {
        self.delete.answer(&event("DELETE", Some(id), None)).await
    }

    /// Creates a user and returns its id.
    pub async fn new_user(&self, body: &str) -> TestResult<String> {
        let user = json_of(&self.create(body).await)?;
        Ok(user["id"].as_str().ok_or("the new user has no id")?.to_owned())
    }
}

/// An API Gateway event (payload 1.0) with what the functions read and some of what they do not.
pub fn event(method: &str, id: Option<&str>, body: Option<&str>) -> String {
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

pub fn json_of(response: &Response) -> TestResult<Value> {
    Ok(serde_json::from_str(&response.body)?)
}
