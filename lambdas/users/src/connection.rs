//! One multiplexed connection to Redis per Lambda environment, which mends itself.
//!
//! An environment is frozen between events, for minutes: the server may have closed the connection meanwhile, or
//! failed over, or the network may have forgotten it. So a connection that failed in any way is thrown away, and what
//! was sent is sent once more on a new one if the old broke before answering. (redis-rs' own `ConnectionManager`
//! reconnects too, but loses that request, and keeps a connection that only times out.)
//!
//! Sending twice means that Redis may have done the work twice: every user of [`Connection::send`] must send what may be
//! repeated, or look at [`Reply::repeated`]. The caller sets the deadline over all. The authorizer compiles this same
//! file.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::sync::Mutex;

use crate::address::Address;

/// Both are far above what Redis in the same network needs, and far below API Gateway's 29 s.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
const REPLY_PATIENCE: Duration = Duration::from_secs(1);

/// The connection, open or yet to be opened.
#[derive(Debug)]
pub struct Connection {
    client: Client,
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

impl Connection {
    /// Remembers where Redis is; connects when first needed.
    pub fn new(address: &Address) -> RedisResult<Self> {
        // The one place that says how Redis is reached. For encryption in transit: redis-rs' `tokio-rustls-comp`
        // feature, and `ConnectionAddr::TcpTls` here instead of the pair.
        let client = Client::open((address.host.as_str(), address.port))?;
        Ok(Self { client, open: Mutex::new(None) })
    }

    /// Opens the connection if it is not open. A failure is not one: the first request tries again and reports.
    pub async fn warm_up(&self) {
        drop(self.opened().await);
    }

    /// Sends the commands in one round trip, and once more if the connection broke before the answer.
    pub async fn send<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<Reply<T>> {
        match self.send_once(commands).await {
            Ok(value) => Ok(Reply { value, repeated: false }),
            Err(Failed::Sending(error)) if error.is_io_error() => match self.send_once(commands).await {
                Ok(value) => Ok(Reply { value, repeated: true }),
                Err(Failed::Connecting(error) | Failed::Sending(error)) => Err(error),
            },
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
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_PATIENCE))
            .set_response_timeout(Some(REPLY_PATIENCE));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(open.insert(connection).clone())
    }
}

/// Where it failed: commands that were never sent are not sent again.
enum Failed {
    Connecting(RedisError),
    Sending(RedisError),
}
