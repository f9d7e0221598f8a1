//! A release as pure values, without I/O: its names, plan, record, and the API definition that it freezes.

pub(crate) mod artifacts;
pub(crate) mod aws_cli;
pub(crate) mod calls;
pub(crate) mod canary;
pub(crate) mod check;
pub(crate) mod default_check;
pub(crate) mod definition;
pub(crate) mod deployment_description;
pub(crate) mod diff;
pub(crate) mod drift;
mod function_uri;
pub(crate) mod model;
pub(crate) mod monitor;
pub(crate) mod notification;
pub(crate) mod once;
pub(crate) mod partition;
pub(crate) mod patch;
pub(crate) mod plan;
pub(crate) mod preview;
pub(crate) mod promotable;
pub(crate) mod prune;
pub(crate) mod record;
pub(crate) mod route;
mod runtime;
pub(crate) mod state;
