//! The zip of a Lambda function.

use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;

/// A zip whose only file is the program that Lambda starts.
pub(crate) fn lambda_zip(bootstrap: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("bootstrap", SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
    writer.write_all(bootstrap).unwrap();
    writer.finish().unwrap().into_inner()
}
