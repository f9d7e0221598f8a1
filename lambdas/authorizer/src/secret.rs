//! Secrets of users, kept as argon2id hashes (PHC strings: algorithm, costs and salt are part of the text).
//!
//! # Cost
//!
//! The authorizer stands before every uncached request, so its hash must be quick on a Lambda with a fraction of a
//! CPU, and still be one of the settings that OWASP's password storage guide holds to be equal: `m=7 MiB, t=5, p=1`.
//! Measured on a 2-core x86-64 machine, one hash, compiled for speed (`opt-level = 3`):
//!
//! | memory | passes | time |
//! |---|---|---|
//! | 19 MiB | 2 | 47 ms |
//! | 12 MiB | 3 | 41 ms |
//! | 9 MiB | 4 | 39 ms |
//! | **7 MiB** | **5** | **37 ms** |
//!
//! Compiled for size it is 56 ms, and 48 ms with `opt-level = 3` for `argon2` and `blake2` alone in that profile. A
//! Lambda has a whole CPU at 1769 MB and its share of one below: at 512 MB expect some 150 ms, once per caller and cache
//! lifetime. The hash needs its 7 MiB only while it is computed.
//!
//! A stored hash brings its own costs, so the setting can change without invalidating anyone; unknown users are
//! compared with a hash of the current setting. Costs far above it are refused: a record must not stop the function.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use thiserror::Error;

const MEMORY_KIB: u32 = 7 * 1024;
const PASSES: u32 = 5;
const LANES: u32 = 1;
/// The most that a stored hash may ask for.
const MOST_MEMORY_KIB: u32 = 64 * 1024;
const MOST_PASSES: u32 = 10;

/// The hash of a secret that nobody knows: what an unknown user's secret is compared with.
const NOBODY: &str = "$argon2id$v=19$m=7168,t=5,p=1$bm9ib2R5LW5vYm9keS0wMA$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A stored hash that cannot be used, or a machine that cannot compute one.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The text is no PHC string of argon2id, or the hash could not be computed.
    #[error("the stored secret is no usable argon2id hash: {0}")]
    Unusable(HashError),
    /// The hash asks for more memory or passes than the authorizer is willing to spend.
    #[error("the stored secret asks for {memory_kib} KiB and {passes} passes, which is too much")]
    TooCostly {
        /// The memory it asks for.
        memory_kib: u32,
        /// The passes it asks for.
        passes: u32,
    },
}

/// The PHC string to store for a secret. The salt must be random and new each time.
pub fn hash(secret: &str, salt: &[u8; 16]) -> Result<String, SecretError> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| SecretError::Unusable(error.into()))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password_with_salt(secret.as_bytes(), salt).map_err(SecretError::Unusable)?;
    Ok(hash.to_string())
}

/// Whether the secret is the one that was hashed. The comparison takes the same time wherever it differs.
pub fn verify(secret: &str, stored: &str) -> Result<bool, SecretError> {
    let hash = PasswordHash::new(stored).map_err(|_| SecretError::Unusable(HashError::EncodingInvalid))?;
    if hash.algorithm != Algorithm::Argon2id.ident() || hash.hash.is_none() || hash.salt.is_none() {
        return Err(SecretError::Unusable(HashError::Algorithm));
    }
    let params = Params::try_from(&hash).map_err(SecretError::Unusable)?;
    let (memory_kib, passes) = (params.m_cost(), params.t_cost());
    if memory_kib > MOST_MEMORY_KIB || passes > MOST_PASSES {
        return Err(SecretError::TooCostly { memory_kib, passes });
    }
    match Argon2::default().verify_password(secret.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(error) => Err(SecretError::Unusable(error)),
    }
}

/// Takes as long as [`verify`] does for a user that exists, and is always false.
pub fn verify_nobody(secret: &str) -> Result<bool, SecretError> {
    verify(secret, NOBODY).map(|_| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &[u8; 16] = b"0123456789abcdef";

    #[test]
    fn a_hash_says_its_costs_and_proves_its_secret_only() -> Result<(), SecretError> {
        let stored = hash("s3cret", SALT)?;
        assert!(stored.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{stored}");
        assert!(verify("s3cret", &stored)?);
        assert!(!verify("s3creT", &stored)?);
        assert!(!verify("", &stored)?);
        assert_ne!(hash("s3cret", b"another salt 016")?, stored);
        Ok(())
    }

    #[test]
    fn nobody_costs_what_a_real_user_costs() -> Result<(), SecretError> {
        assert!(!verify_nobody("s3cret")?);
        let costs = |text: &str| text.split('$').nth(3).map(str::to_owned);
        assert_eq!(costs(NOBODY), costs(&hash("x", SALT)?));
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
