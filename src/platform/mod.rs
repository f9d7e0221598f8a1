//! The operating system: child processes, process identities, files and their modes, paths, file locks, the boot clock
//! and environment variables.

pub(crate) mod atomic_file;
pub(crate) mod clock;
pub(crate) mod file_lock;
pub(crate) mod paths;
pub(crate) mod private;
pub(crate) mod process;
pub(crate) mod process_identity;
pub(crate) mod proxy;
pub(crate) mod variables;

/// Two lower-case hexadecimal digits for each byte.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A unique string that cannot be predicted.
pub(crate) fn unique_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
