//! Commands that release, promote, look after and remove stages, and the pipeline that runs them.

mod approval;
mod before_the_switch;
mod break_glass;
mod calls;
mod canary;
mod conformance;
mod dev;
mod example;
mod first_version;
mod fleet;
mod foreign_output;
mod invoke_and_logs;
mod layers;
mod maintenance;
mod own_backend;
mod pipeline;
mod promotion;
mod unreachable_aws;
