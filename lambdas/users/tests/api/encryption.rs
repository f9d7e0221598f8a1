//! Redis with encryption in transit and an AUTH token, as in `ElastiCache`, and a fake of the service that stores the token.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::support::{Api, RedisServer, TestResult, free_port, json_of};

const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:111111111111:secret:redis-AbCdEf";
const PARAMETER: &str = "arn:aws:ssm:eu-west-1:111111111111:parameter/users/redis";

/// A certificate authority, and a server certificate that it signed.
struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> TestResult<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("ca.pem"), authority.pem())?;
        std::fs::write(directory.path().join("server.pem"), certificate.pem())?;
        std::fs::write(directory.path().join("server.key"), key.serialize_pem())?;
        Ok(Self { directory })
    }

    fn file(&self, name: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        path.to_string_lossy().into_owned()
    }
}

/// A stand-in for Secrets Manager and SSM: answers every request with its token and records the requests.
struct FakeSecretService {
    url: String,
    token: Arc<Mutex<String>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeSecretService {
    fn start(token: &str) -> TestResult<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let service = Self { url, token: Arc::new(Mutex::new(token.to_owned())), requests: Arc::default() };
        let (token, requests) = (Arc::clone(&service.token), Arc::clone(&service.requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let token = token.lock().unwrap().clone();
                requests.lock().unwrap().push(respond(stream, &token).unwrap_or_default());
            }
        });
        Ok(service)
    }

    fn request_count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

fn respond(mut stream: TcpStream, token: &str) -> std::io::Result<String> {
    let (mut request, mut buffer) = (String::new(), [0; 4096]);
    // The body is a flat JSON object, and the headers contain no brace.
    while !request.ends_with('}') {
        let length = stream.read(&mut buffer)?;
        request.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let (status, body) = match token {
        "" => ("400 Bad Request", json!({ "__type": "AccessDeniedException" })),
        _ if request.contains("AmazonSSM.GetParameter") => {
            ("200 OK", json!({ "Parameter": { "Value": token } }))
        }
        _ => ("200 OK", json!({ "SecretString": token })),
    };
    let body = body.to_string();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
    Ok(request)
}

fn credentials(url: &str) -> [(&str, &str); 4] {
    [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "not a real one"),
        ("AWS_SESSION_TOKEN", "session"),
    ]
}

#[tokio::test]
async fn redis_is_reached_with_encryption_and_a_token() -> TestResult {
    let authority = Authority::new()?;
    let tls_port = free_port()?;
    let (certificate, key, ca) =
        (authority.file("server.pem"), authority.file("server.key"), authority.file("ca.pem"));
    let port = tls_port.to_string();
    let options = [
        ("--tls-port", port.as_str()),
        ("--tls-cert-file", &certificate),
        ("--tls-key-file", &key),
        ("--tls-ca-cert-file", &ca),
        ("--tls-auth-clients", "no"),
        ("--requirepass", "a-t0ken"),
    ];
    let options: Vec<&str> = options.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let redis = RedisServer::start_with(free_port()?, &options)?;
    let service = FakeSecretService::start("a-t0ken")?;
    let aws = credentials(&service.url);

    for (arn, target) in [(SECRET, "secretsmanager.GetSecretValue"), (PARAMETER, "AmazonSSM.GetParameter")] {
        let mut variables = aws.to_vec();
        variables.extend([
            ("REDIS_TLS", "true"),
            ("REDIS_TLS_CA_FILE", ca.as_str()),
            ("REDIS_AUTH_SECRET_ARN", arn),
        ]);
        let api = Api::with(tls_port, &variables)?;
        let id = api.new_user(r#"{"name":"Ada"}"#).await?;
        assert_eq!(api.get(&id).await.status_code, 200);
        let request = service.requests.lock().unwrap().last().cloned().unwrap_or_default().to_lowercase();
        for part in
            [&target.to_lowercase(), &arn.to_lowercase(), "/eu-west-1/", "x-amz-security-token: session"]
        {
            assert!(request.contains(part), "{part} in {request}");
        }
    }
    // Each of the four functions in use read the token once.
    assert_eq!(service.request_count(), 4);

    // A client without the CA certificate cannot connect, and a client without the token is rejected.
    let without_ca = Api::with(tls_port, &[("REDIS_TLS", "true")])?;
    assert_eq!(without_ca.list().await.status_code, 500);
    let without_a_token = Api::with(tls_port, &[("REDIS_TLS", "true"), ("REDIS_TLS_CA_FILE", &ca)])?;
    assert_eq!(without_a_token.list().await.status_code, 500);
    assert_eq!(redis.command::<usize>(&["SCARD", "users"])?, 2);
    Ok(())
}

#[tokio::test]
async fn a_token_that_was_rotated_is_read_again() -> TestResult {
    let redis = RedisServer::start_with(free_port()?, &["--requirepass", "old"])?;
    let service = FakeSecretService::start("old")?;
    let aws = credentials(&service.url);
    let api = Api::with(redis.port, &[&aws[..], &[("REDIS_AUTH_SECRET_ARN", SECRET)]].concat())?;
    assert_eq!(api.list().await.status_code, 200);
    assert_eq!(service.request_count(), 1);

    // An open connection survives the rotation; a new one needs the new token.
    "new".clone_into(&mut service.token.lock().unwrap());
    redis.command::<()>(&["CONFIG", "SET", "requirepass", "new"])?;
    assert_eq!(api.list().await.status_code, 200);
    assert_eq!(service.request_count(), 1);
    let mut control =
        redis::Client::open(format!("redis://:new@127.0.0.1:{}", redis.port))?.get_connection()?;
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec(&mut control)?;
    assert_eq!(api.list().await.status_code, 200);
    assert_eq!(service.request_count(), 2);

    // A wrong token in the service is an error. It is read again for the next request.
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "newer"]).exec(&mut control)?;
    redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec(&mut control)?;
    assert_eq!(api.list().await.status_code, 500);
    "newer".clone_into(&mut service.token.lock().unwrap());
    assert_eq!(api.list().await.status_code, 200);
    Ok(())
}

#[tokio::test]
async fn an_unreadable_token_is_an_error_without_details_for_the_caller() -> TestResult {
    let redis = RedisServer::start()?;
    let service = FakeSecretService::start("")?;
    let unreachable = format!("http://127.0.0.1:{}", free_port()?);
    for variables in
        [&credentials(&service.url)[..], &credentials(&unreachable)[..], &[("AWS_ENDPOINT_URL", "x y")]]
    {
        let api = Api::with(redis.port, &[variables, &[("REDIS_AUTH_SECRET_ARN", SECRET)]].concat())?;
        let refused = api.list().await;
        let expected = json!({ "code": "storage_unavailable", "error": "storage is unavailable" });
        assert_eq!((refused.status_code, json_of(&refused)?), (500, expected));
    }
    Ok(())
}
