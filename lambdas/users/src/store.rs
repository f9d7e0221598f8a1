//! Users in Redis, in the layout of the Python original: `user_<id>` is a user's JSON text, the set `users` holds the
//! ids, and both live for six months after the last creation they saw.
//!
//! Each call is one round trip. Every call may be sent twice (see `connection`), and says why that
//! is right. The scripts and transactions touch keys of several users, so this is for Redis without cluster mode.

use redis::{cmd, pipe};

use crate::failure::Failure;
use crate::user_id::UserId;
use shared::aws_secret::SecretClient;
use shared::connection::{Connection, ConnectionError};
use shared::redis_settings::RedisSettings;

/// Six months, as the original has it.
const LIFETIME_SECONDS: u64 = 15_552_000;
const IDS: &str = "users";

/// Replaces a user only if it still is what was read, and keeps its expiry; if not, says what it is now.
///
/// The merge itself is done in Rust: Redis' own JSON (cjson) would write `[]` as `{}` and round long numbers.
const REPLACE_IF_UNCHANGED: &str = "
    local now = redis.call('GET', KEYS[1])
    if now ~= ARGV[1] then return {0, now} end
    redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
    return {1, false}";

/// Deletes all users and the set as one step: a user created meanwhile is deleted whole, or not at all.
const DELETE_ALL: &str = "
    for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('UNLINK', ARGV[1] .. id) end
    redis.call('UNLINK', KEYS[1])
    return 1";

/// What became of a replacement.
#[derive(Debug)]
pub enum Replaced {
    /// It is stored.
    Done,
    /// Somebody else was quicker: the user's text is another now.
    Changed(Vec<u8>),
    /// There is no such user any more.
    Gone,
}

/// The stored users.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Nothing is sent until the first call.
    pub fn new(redis: &RedisSettings, secrets: SecretClient) -> Result<Self, ConnectionError> {
        Ok(Self { connection: Connection::new(redis, secrets)? })
    }

    /// Connects ahead of the first request, if Redis is there.
    pub async fn connect(&self) {
        self.connection.warm_up().await;
    }

    /// The ids of all users, in order. Reading may be repeated.
    pub async fn ids(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let (mut ids,): (Vec<Vec<u8>>,) = self.connection.send(pipe().smembers(IDS)).await?.value;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The texts of these users; none where one has expired. Reading may be repeated.
    pub async fn read(&self, ids: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let mut read = cmd("MGET");
        for id in ids {
            read.arg([b"user_", id.as_slice()].concat());
        }
        let (users,): (Vec<Option<Vec<u8>>>,) = self.connection.send(pipe().add_command(read)).await?.value;
        Ok(users)
    }

    /// The text of one user. Reading may be repeated.
    pub async fn get(&self, id: &UserId) -> Result<Option<Vec<u8>>, Failure> {
        let (user,) = self.connection.send(pipe().get(key(id))).await?.value;
        Ok(user)
    }

    /// Stores a new user. Repeated, it stores the same user under the same id.
    pub async fn create(&self, id: &UserId, user: &str) -> Result<(), Failure> {
        let mut transaction = pipe();
        transaction.atomic().set_ex(key(id), user, LIFETIME_SECONDS).ignore();
        transaction.sadd(IDS, id.as_str()).ignore().expire(IDS, LIFETIME_SECONDS.cast_signed()).ignore();
        let () = self.connection.send(&transaction).await?.value;
        Ok(())
    }

    /// Replaces `old` by `new`, if the user still is `old`. Repeated after it took effect, it finds `new`, and the caller
    /// merges anew, which changes nothing.
    pub async fn replace(&self, id: &UserId, old: &[u8], new: &str) -> Result<Replaced, Failure> {
        let mut script = cmd("EVAL");
        script.arg(REPLACE_IF_UNCHANGED).arg(1).arg(key(id)).arg(old).arg(new);
        let reply = self.connection.send(pipe().add_command(script)).await?;
        let ((replaced, now),): ((bool, Option<Vec<u8>>),) = reply.value;
        Ok(match now {
            _ if replaced => Replaced::Done,
            Some(now) => Replaced::Changed(now),
            None => Replaced::Gone,
        })
    }

    /// Deletes one user and returns its text. Repeated after it took effect, it cannot know what it deleted: that is a
    /// failure, since "no such user" would be wrong.
    pub async fn delete(&self, id: &UserId) -> Result<Option<Vec<u8>>, Failure> {
        let mut transaction = pipe();
        transaction.atomic().get(key(id)).del(key(id)).ignore().srem(IDS, id.as_str()).ignore();
        let reply = self.connection.send(&transaction).await?;
        match reply.value {
            (None,) if reply.repeated => Err(Failure::Unanswered),
            (user,) => Ok(user),
        }
    }

    /// Deletes all users. May be repeated.
    pub async fn delete_all(&self) -> Result<(), Failure> {
        let mut script = cmd("EVAL");
        script.arg(DELETE_ALL).arg(1).arg(IDS).arg("user_");
        let () = self.connection.send(pipe().add_command(script).ignore()).await?.value;
        Ok(())
    }
}

fn key(id: &UserId) -> String {
    format!("user_{id}")
}
