//! Reads a secret from Secrets Manager, or a SecureString parameter from SSM, with one signed request.
//!
//! The AWS SDK for either service is larger than everything else in the zip. This module sends one POST request: signed by
//! `aws-sigv4`, AWS's own signer, with the credentials in the function's environment, and encrypted by the TLS library that
//! the connection to Redis needs anyway. `AWS_ENDPOINT_URL` overrides the endpoint, as in the SDKs. docs/decisions/0021 has
//! the reasons.

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

/// The timeout of one read. A request to the API waits for it, and the service is in the same region.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Secrets Manager stores at most 64 KB.
const MAX_RESPONSE_SIZE: usize = 128 * 1024;

/// The ARN of a secret or of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretArn {
    arn: String,
    service: Service,
    region: String,
    /// The DNS suffix of the partition, such as `amazonaws.com`.
    domain: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    SecretsManager,
    Ssm,
}

impl SecretArn {
    /// None if the text is not the ARN of a secret or of a parameter.
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

    /// The service's name in signatures and host names, the operation, and the request body.
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

/// The text of a secret. `Debug` does not show it, and it cannot be serialised.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secret cannot be read. No message contains a part of a response that may contain the secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The environment has no credentials. Lambda always sets them.
    #[error("the Redis token cannot be read: the environment has no AWS credentials")]
    NoCredentials,
    /// `AWS_ENDPOINT_URL` is not a URL.
    #[error("the Redis token cannot be read: '{0}' is no endpoint URL")]
    InvalidEndpoint(String),
    /// The request cannot be created.
    #[error("the Redis token cannot be read: the request cannot be {0}")]
    Request(&'static str),
    /// The service cannot be reached.
    #[error("the Redis token cannot be read: {host} cannot be reached")]
    Unreachable {
        /// The service's host.
        host: String,
        /// The network error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The service did not answer in time.
    #[error("the Redis token cannot be read: {0} does not answer")]
    Timeout(String),
    /// The service returned an error.
    #[error("the Redis token cannot be read: {status} {kind}")]
    Rejected {
        /// The HTTP status.
        status: StatusCode,
        /// The service's name for the error, such as `AccessDeniedException`.
        kind: String,
    },
    /// The response contains no text.
    #[error("the Redis token cannot be read: the answer holds no text (a binary secret?)")]
    NoText,
}

/// A client of Secrets Manager and SSM.
#[derive(Debug, Clone)]
pub struct SecretClient {
    endpoint: Option<String>,
    credentials: Option<Credentials>,
}

impl SecretClient {
    /// Reads the environment through `lookup`. A missing variable is an error only when a secret is read.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        let credentials = set("AWS_ACCESS_KEY_ID").zip(set("AWS_SECRET_ACCESS_KEY")).map(|(id, key)| {
            Credentials::new(id, key, set("AWS_SESSION_TOKEN"), None, "the function's environment")
        });
        Self { endpoint: set("AWS_ENDPOINT_URL"), credentials }
    }

    /// Reads the current text of the secret.
    pub async fn read(&self, secret: &SecretArn) -> Result<Secret, SecretError> {
        let (service, operation, body) = secret.operation();
        let endpoint = self
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("https://{service}.{}.{}", secret.region, secret.domain));
        let invalid_endpoint = || SecretError::InvalidEndpoint(endpoint.clone());
        let uri: Uri = endpoint.parse().map_err(|_| invalid_endpoint())?;
        let host = uri.host().ok_or_else(invalid_endpoint)?.to_owned();
        let request = self.signed_request(&uri, secret, service, operation, &body.to_string())?;
        let response = timeout(TIMEOUT, send(&uri, &host, request))
            .await
            .map_err(|_| SecretError::Timeout(host.clone()))?;
        let (status, body) = response.map_err(|source| SecretError::Unreachable { host, source })?;
        parse_response(status, &body)
    }

    fn signed_request(
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

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn send(uri: &Uri, host: &str, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), BoxError> {
    let encrypted = uri.scheme_str() != Some("http");
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    if !encrypted {
        return send_over(stream, request).await;
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    send_over(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, request).await
}

async fn send_over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection_task = tokio::spawn(connection);
    let result = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE_SIZE).collect().await?.to_bytes();
        Ok((status, body))
    }
    .await;
    connection_task.abort();
    result
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SecretResponse {
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

fn parse_response(status: StatusCode, body: &[u8]) -> Result<Secret, SecretError> {
    let response: Option<SecretResponse> = serde_json::from_slice(body).ok();
    if !status.is_success() {
        let kind = response.and_then(|response| response.kind).unwrap_or_default();
        // The name may have a prefix: `com.amazonaws.…#AccessDeniedException`.
        let kind = kind.rsplit('#').next().unwrap_or_default().to_owned();
        return Err(SecretError::Rejected { status, kind });
    }
    let response = response.ok_or(SecretError::NoText)?;
    let text = response.secret_string.or_else(|| response.parameter.and_then(|parameter| parameter.value));
    text.filter(|text| !text.is_empty()).map(Secret).ok_or(SecretError::NoText)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:111111111111:secret:redis-AbCdEf";

    #[test]
    fn service_and_region_are_read_from_the_arn() {
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
    fn a_response_is_the_secret_or_an_error() {
        let read = |status, body: &str| {
            parse_response(status, body.as_bytes()).map(|secret| secret.0).map_err(|e| e.to_string())
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
            (name != "AWS_ENDPOINT_URL").then(|| name.to_lowercase()) // The other variables may have any value.
        });
        let secret = SecretArn::parse(SECRET).ok_or(SecretError::NoText)?;
        let uri = Uri::from_static("https://secretsmanager.eu-west-1.amazonaws.com");
        let request = secrets.signed_request(&uri, &secret, "secretsmanager", "x.y", "{}")?;
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
