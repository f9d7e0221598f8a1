//! What a release is, without any I/O: its words, its plan, its record, and the definition of the API it
//! freezes. Everything here is a function of values.

pub(crate) mod artifacts;
pub(crate) mod check;
pub(crate) mod definition;
pub(crate) mod deployment_description;
pub(crate) mod diff;
pub(crate) mod drift;
pub(crate) mod model;
pub(crate) mod plan;
pub(crate) mod prune;
pub(crate) mod record;
pub(crate) mod state;
