//! Users in Redis, in the layout of the replaced Python program: `user_<id>` contains the JSON text of a user, and the set
//! `users` contains the ids. A user expires six months after its creation, the set six months after the latest creation.
//!
//! Each function makes one round trip. The connection may send its commands twice (see `shared::connection`); each function
//! documents why that is correct. The scripts and transactions use keys of several users, which Redis in cluster mode
//! rejects.

use redis::{cmd, pipe};

use crate::failure::Failure;
use crate::user_id::UserId;
use shared::aws_secret::SecretClient;
use shared::connection::{Connection, ConnectionError};
use shared::redis_settings::RedisSettings;

/// Six months.
const EXPIRY_SECONDS: u64 = 15_552_000;
const IDS_KEY: &str = "users";

/// Replaces a user if its text has not changed, and keeps its expiry. Otherwise returns the current text.
///
/// The patch is merged in Rust, not in the script: the JSON library in Redis (cjson) writes `[]` as `{}` and rounds long
/// numbers.
const REPLACE_IF_UNCHANGED: &str = "
    local now = redis.call('GET', KEYS[1])
    if now ~= ARGV[1] then return {0, now} end
    redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
    return {1, false}";

/// Deletes all users and the set atomically: a concurrently created user is deleted completely or not at all.
const DELETE_ALL: &str = "
    for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('UNLINK', ARGV[1] .. id) end
    redis.call('UNLINK', KEYS[1])
    return 1";

/// The result of a replacement.
#[derive(Debug)]
pub enum ReplaceOutcome {
    /// The new text is stored.
    Replaced,
    /// A concurrent request changed the user; this is its current text.
    Changed(Vec<u8>),
    /// The user does not exist any more.
    NotFound,
}

/// The stored users.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Creates the store without connecting.
    pub fn new(redis: &RedisSettings, secrets: SecretClient) -> Result<Self, ConnectionError> {
        Ok(Self { connection: Connection::new(redis, secrets)? })
    }

    /// Connects ahead of the first request, if Redis can be reached.
    pub async fn connect(&self) {
        self.connection.connect().await;
    }

    /// The ids of all users, sorted. Idempotent.
    pub async fn ids(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let (mut ids,): (Vec<Vec<u8>>,) = self.connection.send(pipe().smembers(IDS_KEY)).await?.value;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The texts of these users, None for an expired one. Idempotent.
    pub async fn read(&self, ids: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let mut read = cmd("MGET");
        for id in ids {
            read.arg([b"user_", id.as_slice()].concat());
        }
        let (users,): (Vec<Option<Vec<u8>>>,) = self.connection.send(pipe().add_command(read)).await?.value;
        Ok(users)
    }

    /// The text of one user. Idempotent.
    pub async fn get(&self, id: &UserId) -> Result<Option<Vec<u8>>, Failure> {
        let (user,) = self.connection.send(pipe().get(key(id))).await?.value;
        Ok(user)
    }

    /// Stores a new user. Idempotent: it stores the same text under the same id.
    pub async fn create(&self, id: &UserId, user: &str) -> Result<(), Failure> {
        let mut transaction = pipe();
        transaction.atomic().set_ex(key(id), user, EXPIRY_SECONDS).ignore();
        transaction
            .sadd(IDS_KEY, id.as_str())
            .ignore()
            .expire(IDS_KEY, EXPIRY_SECONDS.cast_signed())
            .ignore();
        let () = self.connection.send(&transaction).await?.value;
        Ok(())
    }

    /// Replaces the text of a user if it is still `old`. If it is sent again after it took effect, it returns `new` as the
    /// current text; the caller merges the patch again, which changes nothing.
    pub async fn replace(&self, id: &UserId, old: &[u8], new: &str) -> Result<ReplaceOutcome, Failure> {
        let mut script = cmd("EVAL");
        script.arg(REPLACE_IF_UNCHANGED).arg(1).arg(key(id)).arg(old).arg(new);
        let reply = self.connection.send(pipe().add_command(script)).await?;
        let ((replaced, now),): ((bool, Option<Vec<u8>>),) = reply.value;
        Ok(match now {
            _ if replaced => ReplaceOutcome::Replaced,
            Some(now) => ReplaceOutcome::Changed(now),
            None => ReplaceOutcome::NotFound,
        })
    }

    /// Deletes one user and returns its text. If it is sent again after it took effect, the deleted text is lost: the result
    /// is a failure, because "no such user" would be wrong.
    pub async fn delete(&self, id: &UserId) -> Result<Option<Vec<u8>>, Failure> {
        let mut transaction = pipe();
        transaction.atomic().get(key(id)).del(key(id)).ignore().srem(IDS_KEY, id.as_str()).ignore();
        let reply = self.connection.send(&transaction).await?;
        match reply.value {
            (None,) if reply.resent => Err(Failure::NoAnswer),
            (user,) => Ok(user),
        }
    }

    /// Deletes all users. Idempotent.
    pub async fn delete_all(&self) -> Result<(), Failure> {
        let mut script = cmd("EVAL");
        script.arg(DELETE_ALL).arg(1).arg(IDS_KEY).arg("user_");
        let () = self.connection.send(pipe().add_command(script).ignore()).await?.value;
        Ok(())
    }
}

fn key(id: &UserId) -> String {
    format!("user_{id}")
}
