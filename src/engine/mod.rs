//! The only code that changes a stage: observe, prepare, switch, verify, record, and undo.
//!
//! [`held::HeldStage`] is a stage whose lease this command holds. [`operations`] are the three ways to move
//! it; each other file is one step. Steps before the switch move no traffic and may be repeated. The switch
//! is one call, made only after the lease has stored the intended record. After the switch, the release is
//! either recorded, or undone by the same call with the old values. [`ports`] are the traits that
//! `crate::aws` implements.

pub(crate) mod activate;
pub(crate) mod appended;
pub(crate) mod by_hand;
pub(crate) mod canary;
pub(crate) mod conditional;
mod default_check;
pub(crate) mod dev;
mod failing_log;
pub(crate) mod failure;
pub(crate) mod held;
mod interrupt;
pub(crate) mod lease;
pub(crate) mod ledger;
pub(crate) mod missing;
pub(crate) mod observe;
mod once;
pub(crate) mod operations;
pub(crate) mod ports;
mod prepare;
pub(crate) mod preview;
mod provision;
pub(crate) mod prune;
pub(crate) mod reach;
mod recover;
pub(crate) mod references;
mod switch;
mod verify;

/// How many functions, records or objects are worked on at the same time. `RateLimiter`, not this, respects the
/// account's API rates.
const MAX_CONCURRENT: usize = 16;

#[cfg(test)]
pub(crate) mod tests;
