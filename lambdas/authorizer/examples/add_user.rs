//! Adds or replaces a user of the API. The secret is read from stdin, so that it is in no shell history:
//!
//! ```sh
//! printf %s "$SECRET" | cargo run -p authorizer --example add_user -- ada --allow 'GET,POST /demo/users' --allow '* /demo/users/{userId}'
//! ```
//!
//! With `REDIS_DNS` (and `REDIS_PORT`) set, the record is written there; without, the command for `redis-cli` is printed,
//! for a Redis that can only be reached from elsewhere. API Gateway caches decisions: a change shows when the cache has
//! expired or was flushed.

use std::error::Error;
use std::io::{Read, Write};
use std::process::ExitCode;

use authorizer::address::{Address, AddressError};
use authorizer::authorizer::key;
use authorizer::credentials::UserName;
use authorizer::rights::{Record, Rule};
use authorizer::secret;

const USAGE: &str = "usage: add_user <name> [--allow '<METHOD>[,<METHOD>…] <route>']… < secret";

fn main() -> ExitCode {
    match add_user() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

fn add_user() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name =
        UserName::parse(&arguments.next().ok_or(USAGE)?).ok_or("a name is 1 to 64 of A-Z a-z 0-9 _ . -")?;
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

    let mut out = std::io::stdout().lock();
    match Address::from_env(|name| std::env::var(name).ok()) {
        Ok(Address { host, port }) => {
            let mut connection = redis::Client::open((host, port))?.get_connection()?;
            redis::cmd("SET").arg(key(&name)).arg(record).exec(&mut connection)?;
            writeln!(out, "user {name} is stored")?;
        }
        // A record holds no quote that ends the shell's: JSON's are double, and hash and routes have none.
        Err(AddressError::NoHost) => writeln!(out, "redis-cli SET {} '{record}'", key(&name))?,
        Err(error) => return Err(error.into()),
    }
    if secret.contains('.') {
        writeln!(std::io::stderr(), "note: a secret with a dot works as Basic, not as Bearer")?;
    }
    Ok(())
}

/// All of stdin without the line's end.
fn read_secret() -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if !(1..=1024).contains(&secret.len()) {
        return Err("the secret on stdin must be 1 to 1024 bytes".into());
    }
    Ok(secret.to_owned())
}
