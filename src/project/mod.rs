//! One project and one of its stages: `deployctl.toml`, the contract with Terraform, and the session of a
//! command.

pub(crate) mod contract;
pub(crate) mod driver;
mod outputs;
mod promotion_source;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod states;
mod variables;
