//! One multiplexed connection to Redis per Lambda execution environment, which reconnects after an error.
//!
//! Lambda freezes an execution environment between events, sometimes for minutes. Meanwhile the server may close the
//! connection or fail over, or a NAT may drop it. Therefore a connection that returned an error is closed. If it broke
//! before it answered, or if the server has become a replica, the commands are sent once more on a new connection, which
//! resolves the host name again. (`ConnectionManager` of the redis crate reconnects too, but it does not resend the
//! commands, and it keeps a connection that only times out.)
//!
//! Redis may execute commands twice if they are sent twice. A caller of [`Connection::send`] sends commands that are
//! idempotent, or checks [`Reply::resent`]. The caller also sets the overall timeout.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, io::tcp::TcpSettings,
};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::aws_secret::{Secret, SecretArn, SecretClient};
use crate::redis_settings::{RedisSettings, RootCertificates};

/// Redis in the same VPC needs milliseconds; API Gateway waits at most 29 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection. It is opened when it is first used.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    token: Option<AuthToken>,
    current: Mutex<Option<MultiplexedConnection>>,
}

/// The result of the commands.
#[derive(Debug)]
pub struct Reply<T> {
    /// The value that Redis returned.
    pub value: T,
    /// Whether the commands were sent twice. The first attempt returned no answer, so it may have taken effect.
    pub resent: bool,
}

/// The settings cannot be used.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The CA file cannot be read.
    #[error("REDIS_TLS_CA_FILE: {0}")]
    CaFile(std::io::Error),
    /// The Redis client rejects the settings.
    #[error("Redis cannot be connected to: {0}")]
    Client(#[from] RedisError),
}

impl Connection {
    /// Creates the client without connecting. The AUTH token, if the settings name one, is read through `secrets`.
    pub fn new(settings: &RedisSettings, secrets: SecretClient) -> Result<Self, ConnectionError> {
        let token = settings.auth.clone().map(|arn| AuthToken { arn, secrets, cached: Mutex::new(None) });
        Ok(Self { client: client(settings)?, token, current: Mutex::new(None) })
    }

    /// Opens the connection ahead of the first request. An error is ignored: the first request tries again and reports it.
    pub async fn connect(&self) {
        drop(self.get_or_connect().await);
    }

    /// Sends the commands in one round trip, and once more if the connection broke before it answered.
    pub async fn send<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<Reply<T>> {
        let first = match self.send_once(commands).await {
            Ok(value) => return Ok(Reply { value, resent: false }),
            Err(SendError::Connect(error)) => return Err(error),
            Err(SendError::Command(error)) => error,
        };
        let is_read_only = is_read_only_replica(&first);
        if !is_read_only && !first.is_io_error() {
            return Err(first);
        }
        match self.send_once(commands).await {
            Ok(value) => Ok(Reply { value, resent: !is_read_only }),
            Err(SendError::Connect(error) | SendError::Command(error)) => Err(error),
        }
    }

    async fn send_once<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, SendError> {
        let mut connection = self.get_or_connect().await.map_err(SendError::Connect)?;
        match commands.query_async(&mut connection).await {
            Ok(value) => Ok(value),
            Err(error) => {
                // The next command opens a new connection, whatever the error is.
                self.current.lock().await.take();
                Err(SendError::Command(error))
            }
        }
    }

    async fn get_or_connect(&self) -> RedisResult<MultiplexedConnection> {
        // The lock is held while connecting: concurrent requests wait for this connection and do not open another.
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref() {
            return Ok(connection.clone());
        }
        let connection = match &self.token {
            None => connect(&self.client).await?,
            Some(token) => self.connect_with_token(token).await?,
        };
        Ok(current.insert(connection).clone())
    }

    /// If Redis rejects a cached token, it may have been rotated: the token is read again and tried once more.
    async fn connect_with_token(&self, token: &AuthToken) -> RedisResult<MultiplexedConnection> {
        let (secret, was_cached) = token.get().await?;
        match connect(&self.with_password(&secret)?).await {
            Err(error) if was_cached && error.kind() == ErrorKind::AuthenticationFailed => {
                token.invalidate().await;
                let (secret, _) = token.get().await?;
                connect(&self.with_password(&secret)?).await
            }
            outcome => {
                if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::AuthenticationFailed) {
                    token.invalidate().await;
                }
                outcome
            }
        }
    }

    fn with_password(&self, secret: &Secret) -> RedisResult<Client> {
        let login = RedisConnectionInfo::default().set_password(secret.expose());
        Client::open(self.client.get_connection_info().clone().set_redis_settings(login))
    }
}

async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// Every connection uses this client, so that host, port and encryption are configured in one place.
fn client(settings: &RedisSettings) -> Result<Client, ConnectionError> {
    let RedisSettings { host, port, tls, auth: _ } = settings;
    // Disables Nagle's algorithm: a long command is written in parts, and the last one would wait up to 40 ms for the ACK.
    let tcp = TcpSettings::default().set_nodelay(true);
    let Some(root_certificates) = tls else {
        let plain = ConnectionAddr::Tcp(host.clone(), *port).into_connection_info()?;
        return Ok(Client::open(plain.set_tcp_settings(tcp))?);
    };
    // rustls needs a default provider if a build contains two. The error, which only says that one is set, is ignored.
    drop(rustls::crypto::ring::default_provider().install_default());
    let root_cert = match root_certificates {
        RootCertificates::Mozilla => None,
        RootCertificates::File(file) => Some(std::fs::read(file).map_err(ConnectionError::CaFile)?),
    };
    let encrypted =
        ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None };
    let certificates = TlsCertificates { client_tls: None, root_cert };
    Ok(Client::build_with_tls(encrypted.into_connection_info()?.set_tcp_settings(tcp), certificates)?)
}

/// Whether the server has become a read-only replica after a failover. It executed none of the commands. In a
/// transaction, the error of each command says so.
fn is_read_only_replica(error: &RedisError) -> bool {
    let server_errors = error.clone().into_server_errors();
    server_errors
        .iter()
        .flat_map(|all| all.iter())
        .any(|(_, error)| error.kind() == Some(ServerErrorKind::ReadOnly))
}

/// The AUTH token. It is read when it is first needed, then cached.
#[derive(Debug)]
struct AuthToken {
    arn: SecretArn,
    secrets: SecretClient,
    cached: Mutex<Option<Secret>>,
}

impl AuthToken {
    /// The token, and whether it was cached.
    async fn get(&self) -> RedisResult<(Secret, bool)> {
        let mut cached = self.cached.lock().await;
        if let Some(secret) = cached.as_ref() {
            return Ok((secret.clone(), true));
        }
        let secret = self.secrets.read(&self.arn).await.map_err(std::io::Error::other)?;
        Ok((cached.insert(secret).clone(), false))
    }

    async fn invalidate(&self) {
        self.cached.lock().await.take();
    }
}

/// Commands are sent again only if the connection had been opened.
enum SendError {
    Connect(RedisError),
    Command(RedisError),
}
