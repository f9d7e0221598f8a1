//! Credentials that were checked and are wrong. The same ones are not hashed again: a client that repeats them costs
//! milliseconds, and does not use up the concurrency that others need.
//!
//! Nobody can make the authorizer refuse valid credentials. An entry contains the stored hash with which the secret was
//! compared, so it does not apply to a user whose record was changed or added. An unknown user has entries of its own, so
//! that the time does not reveal which names exist.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::credentials::{Credentials, UserName};

/// With secrets of the maximum length, this is a quarter of a megabyte.
const MAX_ENTRIES: usize = 256;

/// The latest refusals of one Lambda execution environment.
#[derive(Default)]
pub struct Refusals(Mutex<VecDeque<Refusal>>);

#[derive(PartialEq, Eq)]
struct Refusal {
    name: UserName,
    secret: String,
    /// None for an unknown user.
    stored: Option<String>,
}

impl fmt::Debug for Refusals {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusals")
    }
}

impl Refusals {
    /// Whether these credentials were compared with this hash, and refused.
    pub fn contain(&self, credentials: &Credentials, stored: Option<&str>) -> bool {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().any(|entry| {
            entry.name == credentials.name
                && entry.secret == credentials.secret
                && entry.stored.as_deref() == stored
        })
    }

    /// Adds a refusal. The oldest one is forgotten.
    pub fn add(&self, Credentials { name, secret }: Credentials, stored: Option<String>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == MAX_ENTRIES {
            entries.pop_front();
        }
        entries.push_back(Refusal { name, secret, stored });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(name: &str, secret: &str) -> Option<Credentials> {
        Some(Credentials { name: UserName::parse(name)?, secret: secret.to_owned() })
    }

    #[test]
    fn an_entry_applies_to_one_name_one_secret_and_one_hash() -> Result<(), &'static str> {
        let refusals = Refusals::default();
        let ada = || credentials("ada", "wrong").ok_or("no name");
        refusals.add(ada()?, Some("hash".to_owned()));
        assert!(refusals.contain(&ada()?, Some("hash")));
        assert!(!refusals.contain(&ada()?, Some("another hash")) && !refusals.contain(&ada()?, None));
        for (name, secret) in [("eve", "wrong"), ("ada", "right")] {
            let other = credentials(name, secret).ok_or("no name")?;
            assert!(!refusals.contain(&other, Some("hash")));
        }
        assert!(!format!("{refusals:?}").contains("wrong"));
        Ok(())
    }

    #[test]
    fn the_oldest_entries_are_forgotten() -> Result<(), &'static str> {
        let refusals = Refusals::default();
        for number in 0..=MAX_ENTRIES {
            refusals.add(credentials("ada", &number.to_string()).ok_or("no name")?, None);
        }
        let first = credentials("ada", "0").ok_or("no name")?;
        let second = credentials("ada", "1").ok_or("no name")?;
        assert!(!refusals.contain(&first, None) && refusals.contain(&second, None));
        Ok(())
    }
}
