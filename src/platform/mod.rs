//! What deployctl needs of the operating system: child processes, file locks, the boot clock, and process identities.

pub(crate) mod clock;
pub(crate) mod file_lock;
pub(crate) mod process;
pub(crate) mod process_identity;
pub(crate) mod variables;

/// A random string that cannot be predicted and that no other call returns.
pub(crate) fn unique_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
