//! The operating system: child processes, process identities, files and their modes, file locks, the boot clock and
//! environment variables.

pub(crate) mod atomic_file;
pub(crate) mod clock;
pub(crate) mod file_lock;
pub(crate) mod private;
pub(crate) mod process;
pub(crate) mod process_identity;
pub(crate) mod proxy;
pub(crate) mod variables;

/// A unique string that cannot be predicted.
pub(crate) fn unique_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
