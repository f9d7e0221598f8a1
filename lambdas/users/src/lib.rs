//! The users API of the example: one program for six Lambda functions.
//!
//! The handler setting of the function (`_HANDLER`) selects the route. The data layout is that of the Python program that
//! this crate replaces: Redis database 0, `user_<id>` contains the JSON text of a user, the set `users` contains the ids.
//!
//! ```text
//! Lambda event ─► event (parse, decode the body) ─► app (method, timeout) ─► routes ─► store ─► Redis
//!                                                              document (check, merge) ┘
//! ```
//!
//! - No event causes a panic or a Lambda error: the caller always gets an HTTP status, and a JSON body with every error.
//! - A stored user is text. It is checked and returned as it is, not parsed and serialised again, so that no number, empty
//!   list or unknown field changes.
//! - A response never contains host names or internal details. The cause is in the log, without personal data.

pub mod app;
pub mod document;
pub mod event;
pub mod failure;
pub mod pagination;
pub mod response;
mod routes;
pub mod settings;
pub mod store;
pub mod user_id;
mod user_list;
