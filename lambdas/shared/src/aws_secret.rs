//! A secret that AWS keeps: in Secrets Manager, or in SSM as a SecureString parameter. Read with one signed request.
//!
//! The AWS SDK for either service would be larger than all else in the zip together. What is needed of it is here: a POST,
//! signed by AWS's own signer (`aws-sigv4`) with the credentials of the function's environment, over the TLS that the
//! connection to Redis brings along. `AWS_ENDPOINT_URL` leads it elsewhere, as it does every SDK. The authorizer compiles
//! this same file. Why so: docs/decisions/0021.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The request is small and the service is in the same region; what takes longer would cost the waiting request too much.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Secrets Manager keeps at most 64 KB.
const LARGEST_ANSWER: usize = 128 * 1024;

/// Which secret, in which service and region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretArn {
    arn: String,
    service: Service,
    region: String,
    /// `amazonaws.com`, or the suffix of another partition.
    domain: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    SecretsManager,
    Ssm,
}

impl SecretArn {
    /// None if this is no ARN of a secret or of a parameter.
    pub fn parse(arn: &str) -> Option<Self> {
        let fields: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = fields.as_slice() else { return None };
        let service = match *service {
            "secretsmanager" if resource.starts_with("secret:") => Service::SecretsManager,
            "ssm" if resource.starts_with("parameter/") => Service::Ssm,
            _ => return None,
        };
        let is_region = !region.is_empty()
            && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let domain = match *partition {
            "aws" | "aws-us-gov" => "amazonaws.com",
            "aws-cn" => "amazonaws.com.cn",
            _ => return None,
        };
        let known = is_region && !account.is_empty();
        known.then(|| Self { arn: arn.to_owned(), service, region: (*region).to_owned(), domain })
    }

    /// The service's name in signatures and host names, the operation, and what it is asked.
    fn operation(&self) -> (&'static str, &'static str, serde_json::Value) {
        match self.service {
            Service::SecretsManager => (
                "secretsmanager",
                "secretsmanager.GetSecretValue",
                serde_json::json!({ "SecretId": self.arn }),
            ),
            Service::Ssm => (
                "ssm",
                "AmazonSSM.GetParameter",
                serde_json::json!({ "Name": self.arn, "WithDecryption": true }),
            ),
        }
    }
}

/// A secret in memory. It has no `Debug` that shows it and cannot be serialised.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Why the secret could not be read. None of the texts holds a part of an answer that could hold the secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// Lambda gives every function credentials; here there are none.
    #[error("the Redis token cannot be read: the environment has no AWS credentials")]
    NoCredentials,
    /// `AWS_ENDPOINT_URL` is no URL.
    #[error("the Redis token cannot be read: '{0}' is no endpoint URL")]
    BadEndpoint(String),
    /// The request cannot be made.
    #[error("the Redis token cannot be read: the request cannot be {0}")]
    Request(&'static str),
    /// The service cannot be reached.
    #[error("the Redis token cannot be read: {host} cannot be reached")]
    Unreachable {
        /// The service's host.
        host: String,
        /// What the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The service takes too long.
    #[error("the Redis token cannot be read: {0} does not answer")]
    Silent(String),
    /// The service refuses.
    #[error("the Redis token cannot be read: {status} {kind}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The service's name for the error, such as `AccessDeniedException`.
        kind: String,
    },
    /// The answer has no text in it.
    #[error("the Redis token cannot be read: the answer holds no text (a binary secret?)")]
    NoText,
}

/// How to ask, as the environment says.
#[derive(Debug, Clone)]
pub struct SecretClient {
    endpoint: Option<String>,
    credentials: Option<Credentials>,
}

impl SecretClient {
    /// Reads the environment through `lookup`. What is missing there is an error only when a secret is read.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        let credentials = set("AWS_ACCESS_KEY_ID").zip(set("AWS_SECRET_ACCESS_KEY")).map(|(id, key)| {
            Credentials::new(id, key, set("AWS_SESSION_TOKEN"), None, "the function's environment")
        });
        Self { endpoint: set("AWS_ENDPOINT_URL"), credentials }
    }

    /// The secret's current text.
    pub async fn read(&self, secret: &SecretArn) -> Result<Secret, SecretError> {
        let (service, operation, question) = secret.operation();
        let endpoint = self
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("https://{service}.{}.{}", secret.region, secret.domain));
        let bad_endpoint = || SecretError::BadEndpoint(endpoint.clone());
        let uri: Uri = endpoint.parse().map_err(|_| bad_endpoint())?;
        let host = uri.host().ok_or_else(bad_endpoint)?.to_owned();
        let request = self.signed(&uri, secret, service, operation, &question.to_string())?;
        let answer = timeout(PATIENCE, exchange(&uri, &host, request))
            .await
            .map_err(|_| SecretError::Silent(host.clone()))?;
        let (status, body) = answer.map_err(|source| SecretError::Unreachable { host, source })?;
        text_of(status, &body)
    }

    fn signed(
        &self,
        uri: &Uri,
        secret: &SecretArn,
        service: &str,
        operation: &str,
        body: &str,
    ) -> Result<Request<Full<Bytes>>, SecretError> {
        let credentials = self.credentials.clone().ok_or(SecretError::NoCredentials)?;
        let authority = uri.authority().ok_or(SecretError::Request("addressed"))?;
        let mut request = Request::post("/")
            .header("host", authority.as_str())
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", operation)
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|_| SecretError::Request("made"))?;
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&secret.region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|_| SecretError::Request("signed"))?
            .into();
        let headers =
            request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let url = format!("{}://{authority}/", uri.scheme_str().unwrap_or("https"));
        let signable = SignableRequest::new("POST", url, headers, SignableBody::Bytes(body.as_bytes()))
            .map_err(|_| SecretError::Request("signed"))?;
        let (instructions, _signature) =
            sign(signable, &parameters).map_err(|_| SecretError::Request("signed"))?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    uri: &Uri,
    host: &str,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Failed> {
    let encrypted = uri.scheme_str() != Some("http");
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    if !encrypted {
        return converse(stream, request).await;
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    converse(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, request).await
}

async fn converse<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let talking = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await?.to_bytes();
        Ok((status, body))
    }
    .await;
    talking.abort();
    answer
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    secret_string: Option<String>,
    parameter: Option<Parameter>,
    #[serde(rename = "__type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    value: Option<String>,
}

fn text_of(status: StatusCode, body: &[u8]) -> Result<Secret, SecretError> {
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    if !status.is_success() {
        let kind = answer.and_then(|answer| answer.kind).unwrap_or_default();
        // `com.amazonaws.…#AccessDeniedException`: the last part says it.
        let kind = kind.rsplit('#').next().unwrap_or_default().to_owned();
        return Err(SecretError::Refused { status, kind });
    }
    let answer = answer.ok_or(SecretError::NoText)?;
    let text = answer.secret_string.or_else(|| answer.parameter.and_then(|parameter| parameter.value));
    text.filter(|text| !text.is_empty()).map(Secret).ok_or(SecretError::NoText)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:111111111111:secret:redis-AbCdEf";

    #[test]
    fn an_arn_says_service_and_region() {
        let parsed = SecretArn::parse(SECRET);
        assert_eq!(parsed.as_ref().map(|arn| arn.operation().1), Some("secretsmanager.GetSecretValue"));
        assert_eq!(parsed.map(|arn| arn.region), Some("eu-west-1".to_owned()));
        let parameter = SecretArn::parse("arn:aws-cn:ssm:cn-north-1:1:parameter/users/redis");
        assert_eq!(parameter.as_ref().map(|arn| arn.operation().1), Some("AmazonSSM.GetParameter"));
        assert_eq!(parameter.map(|arn| arn.domain), Some("amazonaws.com.cn"));
        for bad in [
            "",
            "redis-token",
            "arn:aws:secretsmanager:eu-west-1:1:redis",
            "arn:aws:ssm:eu-west-1:1:document/x",
            "arn:aws:secretsmanager:evil.example/:1:secret:x",
            "arn:aws:secretsmanager::1:secret:x",
            "arn:other:secretsmanager:eu-west-1:1:secret:x",
        ] {
            assert_eq!(SecretArn::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_is_the_text_or_says_why_not() {
        let read = |status, body: &str| {
            text_of(status, body.as_bytes()).map(|secret| secret.0).map_err(|e| e.to_string())
        };
        assert_eq!(read(StatusCode::OK, r#"{"SecretString":"t0ken","Name":"x"}"#), Ok("t0ken".to_owned()));
        assert_eq!(read(StatusCode::OK, r#"{"Parameter":{"Value":"t0ken"}}"#), Ok("t0ken".to_owned()));
        for empty in [r#"{"SecretBinary":"AAAA"}"#, r#"{"SecretString":""}"#, "<html>", ""] {
            assert!(read(StatusCode::OK, empty).is_err_and(|why| why.contains("no text")), "{empty}");
        }
        let refused =
            read(StatusCode::BAD_REQUEST, r#"{"__type":"a.b#AccessDeniedException","Message":"no"}"#);
        assert!(refused.is_err_and(|why| why.ends_with("400 Bad Request AccessDeniedException")));
    }

    #[test]
    fn the_request_is_signed_for_its_service_and_region() -> Result<(), SecretError> {
        let secrets = SecretClient::from_env(|name| {
            (name != "AWS_ENDPOINT_URL").then(|| name.to_lowercase()) // Any text will do for the others.
        });
        let secret = SecretArn::parse(SECRET).ok_or(SecretError::NoText)?;
        let uri = Uri::from_static("https://secretsmanager.eu-west-1.amazonaws.com");
        let request = secrets.signed(&uri, &secret, "secretsmanager", "x.y", "{}")?;
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let signature = header("authorization").unwrap_or_default();
        assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=aws_access_key_id/"), "{signature}");
        assert!(signature.contains("/eu-west-1/secretsmanager/aws4_request"), "{signature}");
        assert!(
            signature
                .contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target")
        );
        assert_eq!(header("x-amz-security-token"), Some("aws_session_token"));
        Ok(())
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret("t0ken".to_owned())), "Secret(…)");
    }
}
