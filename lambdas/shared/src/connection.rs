//! One multiplexed connection to Redis per Lambda environment, which mends itself.
//!
//! An environment is frozen between events, for minutes: the server may have closed the connection meanwhile, or
//! failed over, or the network may have forgotten it. So a connection that failed in any way is thrown away, and what
//! was sent is sent once more on a new one if the old broke before answering, or led to a server that has become a
//! replica. The new one asks the DNS anew. (redis-rs' own `ConnectionManager` reconnects too, but loses that request,
//! and keeps a connection that only times out.)
//!
//! Sending twice means that Redis may have done the work twice: every user of [`Connection::send`] must send what may be
//! repeated, or look at [`Reply::repeated`]. The caller sets the deadline over all. The authorizer compiles this same
//! file.

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

/// Both are far above what Redis in the same network needs, and far below API Gateway's 29 s.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
const REPLY_PATIENCE: Duration = Duration::from_secs(1);

/// The connection, open or yet to be opened.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    token: Option<Token>,
    open: Mutex<Option<MultiplexedConnection>>,
}

/// An answer, and whether the commands were sent twice to get it.
#[derive(Debug)]
pub struct Reply<T> {
    /// What Redis answered.
    pub value: T,
    /// The first sending got no answer, so its commands may have taken effect before these did.
    pub repeated: bool,
}

/// Why a connection can never be opened.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The file of authorities cannot be read.
    #[error("REDIS_TLS_CA_FILE: {0}")]
    Authorities(std::io::Error),
    /// The Redis client does not accept the settings.
    #[error("Redis cannot be connected to: {0}")]
    Client(#[from] RedisError),
}

impl Connection {
    /// Remembers where Redis is; connects when first needed. `secrets` is asked for the token, if there is one.
    pub fn new(settings: &RedisSettings, secrets: SecretClient) -> Result<Self, ConnectionError> {
        let token = settings.auth.clone().map(|arn| Token { arn, secrets, known: Mutex::new(None) });
        Ok(Self { client: client(settings)?, token, open: Mutex::new(None) })
    }

    /// Opens the connection if it is not open. A failure is not one: the first request tries again and reports.
    pub async fn warm_up(&self) {
        drop(self.opened().await);
    }

    /// Sends the commands in one round trip, and once more if the connection broke before the answer.
    pub async fn send<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<Reply<T>> {
        let first = match self.send_once(commands).await {
            Ok(value) => return Ok(Reply { value, repeated: false }),
            Err(Failed::Connecting(error)) => return Err(error),
            Err(Failed::Sending(error)) => error,
        };
        let refused = is_replica(&first);
        if !refused && !first.is_io_error() {
            return Err(first);
        }
        match self.send_once(commands).await {
            Ok(value) => Ok(Reply { value, repeated: !refused }),
            Err(Failed::Connecting(error) | Failed::Sending(error)) => Err(error),
        }
    }

    async fn send_once<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Failed> {
        let mut connection = self.opened().await.map_err(Failed::Connecting)?;
        match commands.query_async(&mut connection).await {
            Ok(value) => Ok(value),
            Err(error) => {
                // Whatever it was (broken, silent, a replica that may not be written): the next one starts afresh.
                self.open.lock().await.take();
                Err(Failed::Sending(error))
            }
        }
    }

    async fn opened(&self) -> RedisResult<MultiplexedConnection> {
        // Held while connecting, so that requests that arrive meanwhile wait for this connection and open no other.
        let mut open = self.open.lock().await;
        if let Some(connection) = open.as_ref() {
            return Ok(connection.clone());
        }
        let connection = match &self.token {
            None => connect(&self.client).await?,
            Some(token) => self.log_in(token).await?,
        };
        Ok(open.insert(connection).clone())
    }

    /// A token that was right once may have been rotated since: refused, it is read anew, once.
    async fn log_in(&self, token: &Token) -> RedisResult<MultiplexedConnection> {
        let (secret, is_old) = token.text().await?;
        match connect(&self.with_password(&secret)?).await {
            Err(error) if is_old && error.kind() == ErrorKind::AuthenticationFailed => {
                token.forget().await;
                let (secret, _) = token.text().await?;
                connect(&self.with_password(&secret)?).await
            }
            outcome => {
                if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::AuthenticationFailed) {
                    token.forget().await;
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
        .set_connection_timeout(Some(CONNECT_PATIENCE))
        .set_response_timeout(Some(REPLY_PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// The one place that says how Redis is reached.
fn client(settings: &RedisSettings) -> Result<Client, ConnectionError> {
    let RedisSettings { host, port, tls, auth: _ } = settings;
    // A long command is written in parts: the last must not wait until the first was acknowledged, which can take 40 ms.
    let at_once = TcpSettings::default().set_nodelay(true);
    let Some(trust) = tls else {
        let plain = ConnectionAddr::Tcp(host.clone(), *port).into_connection_info()?;
        return Ok(Client::open(plain.set_tcp_settings(at_once))?);
    };
    // Named, because rustls cannot choose where a build has two. An error says that it was named before.
    drop(rustls::crypto::ring::default_provider().install_default());
    let root_cert = match trust {
        RootCertificates::Mozilla => None,
        RootCertificates::File(file) => Some(std::fs::read(file).map_err(ConnectionError::Authorities)?),
    };
    let encrypted =
        ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None };
    let certificates = TlsCertificates { client_tls: None, root_cert };
    Ok(Client::build_with_tls(encrypted.into_connection_info()?.set_tcp_settings(at_once), certificates)?)
}

/// The server was failed over: it did nothing, and another one takes writes now. In a transaction, the refused command
/// tells it.
fn is_replica(error: &RedisError) -> bool {
    let refusals = error.clone().into_server_errors();
    refusals
        .iter()
        .flat_map(|all| all.iter())
        .any(|(_, refusal)| refusal.kind() == Some(ServerErrorKind::ReadOnly))
}

/// The AUTH token: read from where it is kept when first needed, then remembered.
#[derive(Debug)]
struct Token {
    arn: SecretArn,
    secrets: SecretClient,
    known: Mutex<Option<Secret>>,
}

impl Token {
    /// The token, and whether it was known before.
    async fn text(&self) -> RedisResult<(Secret, bool)> {
        let mut known = self.known.lock().await;
        if let Some(secret) = known.as_ref() {
            return Ok((secret.clone(), true));
        }
        let secret = self.secrets.read(&self.arn).await.map_err(std::io::Error::other)?;
        Ok((known.insert(secret).clone(), false))
    }

    async fn forget(&self) {
        self.known.lock().await.take();
    }
}

/// Where it failed: commands that were never sent are not sent again.
enum Failed {
    Connecting(RedisError),
    Sending(RedisError),
}
