//! What a release is, without any I/O: its words, its plan, its record, and the definition of the API it
//! freezes. Everything here is a function of values (I2).

pub mod check;
pub mod definition;
pub mod diff;
pub mod drift;
pub mod model;
pub mod note;
pub mod plan;
pub mod prune;
pub mod record;
