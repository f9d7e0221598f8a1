//! The real program with a proxy before AWS that lets requests go wrong, and what commands cost.

mod answers;
mod cost;
mod proxy;
mod requests;
