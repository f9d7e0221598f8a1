//! The custom authorizer of the users API (type REQUEST, API Gateway REST): who calls, and which routes they may call.
//!
//! ```text
//! event ─► credentials (Authorization header) ─► authorizer ─► Redis `auth_user_<name>` ─► rights
//!                                                     └ secret (argon2id) ─► policy ─► API Gateway, cached per header
//! ```
//!
//! - No credentials, an unknown user and a wrong secret are the same error, `Unauthorized` (401), in the same time.
//! - The policy lists all that the user may call, not only what is called now: API Gateway caches it for every route.
//! - Rights are data in Redis, set with `cargo run -p authorizer --example add_user`.
//! - Redis away or a damaged record is an error (500), never a decision.

pub mod authorizer;
pub mod credentials;
pub mod policy;
pub mod rights;
pub mod secret;
