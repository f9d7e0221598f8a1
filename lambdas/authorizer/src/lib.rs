//! The custom authorizer of the users API (an API Gateway REST API, type REQUEST). It authenticates the caller and returns
//! an IAM policy with the routes that the caller may use.
//!
//! ```text
//! event ─► credentials (Authorization header) ─► authorizer ─► Redis `auth_user_<name>` ─► rights
//!                                                    └ secret (argon2id) ─► policy ─► API Gateway (caches per header)
//! ```
//!
//! - Missing credentials, an unknown user and a wrong secret are the same error, `Unauthorized` (401), after the same time.
//! - The same wrong credentials are hashed once by each execution environment.
//! - The policy contains every route that the user may call, because API Gateway caches it for all routes.
//! - The rights of a user are stored in Redis. `cargo run -p authorizer --example add_user` sets them.
//! - If Redis cannot be reached or a record is damaged, the result is an error (500), not a policy.

pub mod authorizer;
pub mod credentials;
pub mod policy;
pub mod refusals;
pub mod rights;
pub mod secret;
