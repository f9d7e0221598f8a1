//! Adds, replaces or removes a user of the API. The secret is read from stdin, so that it is not in the shell history:
//!
//! ```sh
//! printf %s "$SECRET" | cargo run -p authorizer --example add_user -- ada --allow 'GET,POST /demo/users' --allow '* /demo/users/{userId}'
//! ```
//!
//! If `REDIS_DNS` is set, the record is written to that server, with the same settings as the authorizer's (`REDIS_PORT`,
//! `REDIS_TLS`, `REDIS_TLS_CA_FILE`, `REDIS_AUTH_SECRET_ARN`). Otherwise, the `redis-cli` command is printed, for a server
//! that can only be reached from another machine. `--remove` removes the user. API Gateway caches policies: a change takes
//! effect when the cache has expired or was flushed.

use std::error::Error;
use std::io::{Read, Write};
use std::process::ExitCode;

use authorizer::authorizer::record_key;
use authorizer::credentials::UserName;
use authorizer::rights::{Record, Rule};
use authorizer::secret;
use shared::aws_secret::SecretClient;
use shared::connection::Connection;
use shared::redis_settings::{RedisSettings, RedisSettingsError};

const USAGE: &str = "usage: add_user <name> [--allow '<METHOD>[,<METHOD>…] <route>']… < secret\n       \
                     add_user <name> --remove";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match add_user().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

async fn add_user() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let name =
        UserName::parse(&arguments.next().ok_or(USAGE)?).ok_or("a name is 1 to 64 of A-Z a-z 0-9 _ . -")?;
    if arguments.next_if(|flag| flag == "--remove").is_some() {
        return if arguments.next().is_some() { Err(USAGE.into()) } else { change(&name, None).await };
    }
    let mut allow = Vec::new();
    while let Some(flag) = arguments.next() {
        let rule = arguments.next().filter(|_| flag == "--allow").ok_or(USAGE)?;
        let (methods, path) = rule.split_once(' ').ok_or(USAGE)?;
        allow.push(Rule::new(methods.split(',').map(str::to_owned).collect(), path.trim().to_owned())?);
    }
    let secret = read_secret()?;
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let record = serde_json::to_string(&Record { secret: secret::hash(&secret, &salt)?, allow })?;
    change(&name, Some(record)).await?;
    if secret.contains('.') {
        writeln!(std::io::stderr(), "note: a secret with a dot works as Basic, not as Bearer")?;
    }
    Ok(())
}

/// Stores or deletes the record, or prints the command if `REDIS_DNS` is not set.
async fn change(name: &UserName, record: Option<String>) -> Result<(), Box<dyn Error>> {
    let variable = |name: &str| std::env::var(name).ok();
    let key = record_key(name);
    let mut out = std::io::stdout().lock();
    let redis = match RedisSettings::from_env(variable) {
        Ok(redis) => redis,
        Err(RedisSettingsError::MissingHost) => {
            // The record contains no single quote: JSON has double quotes, and hashes and routes have none.
            match record {
                Some(record) => writeln!(out, "redis-cli SET {key} '{record}'")?,
                None => writeln!(out, "redis-cli DEL {key}")?,
            }
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let connection = Connection::new(&redis, SecretClient::from_env(variable))?;
    let mut commands = redis::pipe();
    match &record {
        Some(record) => commands.set(key, record).ignore(),
        None => commands.del(key).ignore(),
    };
    let () = connection.send(&commands).await?.value;
    writeln!(out, "user {name} is {}", if record.is_some() { "stored" } else { "removed" })?;
    Ok(())
}

/// Reads stdin without its trailing newline.
fn read_secret() -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if !(1..=1024).contains(&secret.len()) {
        return Err("the secret on stdin must be 1 to 1024 bytes".into());
    }
    Ok(secret.to_owned())
}
