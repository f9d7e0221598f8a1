//! Hashes of the users' secrets: argon2id, as PHC strings, which contain the algorithm, its parameters and the salt.
//!
//! # Cost
//!
//! The hash is computed for every uncached request, often with a fraction of a CPU. Of the parameters that OWASP's password
//! storage guide lists as equivalent, `m=7 MiB, t=5, p=1` is the fastest. Time of one hash on a 2-core x86-64 machine, with
//! `opt-level = 3`:
//!
//! | memory | passes | time |
//! |---|---|---|
//! | 19 MiB | 2 | 47 ms |
//! | 12 MiB | 3 | 41 ms |
//! | 9 MiB | 4 | 39 ms |
//! | **7 MiB** | **5** | **37 ms** |
//!
//! With `opt-level = "s"` it takes 56 ms, and 48 ms if `argon2` and `blake2` alone are compiled with `opt-level = 3`. Lambda
//! assigns a whole CPU at 1769 MB of memory and less below: at 512 MB a hash takes about 150 ms, once per caller and cache
//! lifetime. The 7 MiB are allocated only while the hash is computed.
//!
//! A stored hash contains its parameters, so that they can change without invalidating stored hashes. The secret of an
//! unknown user is compared with a hash that has the current parameters. A hash with much higher parameters is rejected,
//! because it would make the function run out of memory or time.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use thiserror::Error;

const MEMORY_KIB: u32 = 7 * 1024;
const PASSES: u32 = 5;
const LANES: u32 = 1;
/// The maximum parameters of a stored hash.
const MAX_MEMORY_KIB: u32 = 64 * 1024;
const MAX_PASSES: u32 = 10;

/// The hash with which the secret of an unknown user is compared.
const UNKNOWN_USER_HASH: &str = "$argon2id$v=19$m=7168,t=5,p=1$bm9ib2R5LW5vYm9keS0wMA$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A stored hash cannot be used, or a hash cannot be computed.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The text is not a PHC string of argon2id, or the hash cannot be computed.
    #[error("the stored secret is no usable argon2id hash: {0}")]
    Unusable(HashError),
    /// The parameters of the hash exceed the maximum.
    #[error("the stored secret asks for {memory_kib} KiB and {passes} passes, which is too much")]
    TooCostly {
        /// The memory parameter.
        memory_kib: u32,
        /// The number of passes.
        passes: u32,
    },
}

/// Hashes a secret to a PHC string. The salt must be random and new each time.
pub fn hash(secret: &str, salt: &[u8; 16]) -> Result<String, SecretError> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| SecretError::Unusable(error.into()))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(secret.as_bytes(), salt).map_err(SecretError::Unusable)?;
    Ok(hash.to_string())
}

/// Whether the secret matches the stored hash. The comparison takes constant time.
pub fn verify(secret: &str, stored: &str) -> Result<bool, SecretError> {
    let hash = PasswordHash::new(stored).map_err(|_| SecretError::Unusable(HashError::EncodingInvalid))?;
    if hash.algorithm != Algorithm::Argon2id.ident() || hash.hash.is_none() || hash.salt.is_none() {
        return Err(SecretError::Unusable(HashError::Algorithm));
    }
    let params = Params::try_from(&hash).map_err(SecretError::Unusable)?;
    let (memory_kib, passes) = (params.m_cost(), params.t_cost());
    if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES {
        return Err(SecretError::TooCostly { memory_kib, passes });
    }
    match Argon2::default().verify_password(secret.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(error) => Err(SecretError::Unusable(error)),
    }
}

/// Takes as long as [`verify`] does for an existing user, and always returns false.
pub fn verify_unknown_user(secret: &str) -> Result<bool, SecretError> {
    verify(secret, UNKNOWN_USER_HASH).map(|_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &[u8; 16] = b"0123456789abcdef";

    #[test]
    fn a_hash_contains_its_cost_and_matches_its_secret_only() -> Result<(), SecretError> {
        let stored = hash("s3cret", SALT)?;
        assert!(stored.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{stored}");
        assert!(verify("s3cret", &stored)?);
        assert!(!verify("s3creT", &stored)?);
        assert!(!verify("", &stored)?);
        assert_ne!(hash("s3cret", b"another salt 016")?, stored);
        Ok(())
    }

    #[test]
    fn an_unknown_user_takes_as_long_as_a_known_one() -> Result<(), SecretError> {
        assert!(!verify_unknown_user("s3cret")?);
        let costs = |text: &str| text.split('$').nth(3).map(str::to_owned);
        assert_eq!(costs(UNKNOWN_USER_HASH), costs(&hash("x", SALT)?));
        Ok(())
    }

    #[test]
    fn a_hash_of_another_kind_or_cost_is_an_error() {
        let salt_and_hash = "MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for stored in [
            "plain".to_owned(),
            String::new(),
            "$argon2id$v=19$m=7168,t=5,p=1".to_owned(),
            format!("$argon2i$v=19$m=7168,t=5,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=4194304,t=1,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=8,t=4000000,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=0,t=0,p=0${salt_and_hash}"),
        ] {
            assert!(verify("x", &stored).is_err(), "{stored}");
        }
    }
}
