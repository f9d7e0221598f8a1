//! One project and one of its stages: `deployctl.toml`, the contract with Terraform, and the session of a
//! command.

mod applied;
pub(crate) mod contract;
pub(crate) mod coordination;
pub(crate) mod driver;
pub(crate) mod known_stage;
pub(crate) mod notify;
mod outputs;
mod promotion_source;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod states;
mod variables;
