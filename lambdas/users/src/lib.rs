//! The users API of the example: one bootstrap that is six Lambda functions.
//!
//! The function's handler setting (`_HANDLER`) picks the route, as in the Python original whose data this crate
//! takes over in place: Redis db 0, `user_<id>` holds a user's JSON text, the set `users` holds the ids.
//!
//! ```text
//! event ─► event (is it API Gateway's? body decoded) ─► app (method, deadline) ─► routes ─► store ─► connection ─► Redis
//!                                                                      document: checks, merge ┘
//! ```
//!
//! - No event panics, and none is answered with a Lambda error: the caller always gets a status and a JSON body.
//! - A stored user is text. It is checked and passed through, never decoded and written anew, so that no number,
//!   empty list or unknown field changes on its way.
//! - What the caller reads never names hosts or internals; the cause goes to the log, without personal data.

pub mod app;
pub mod document;
pub mod event;
pub mod failure;
mod listing;
pub mod page;
pub mod response;
mod routes;
pub mod settings;
pub mod store;
pub mod user_id;
