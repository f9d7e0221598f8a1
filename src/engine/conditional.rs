//! A write on the condition that nobody else has written meanwhile.

use crate::engine::failure::Failure;
use crate::engine::ports::{Store, Written};

/// Writes an object that is as it was read: with this ETag, or missing without one. Returns its new ETag, or `None` if
/// another command has written it. An answer that is lost is looked up.
///
/// # Errors
/// Those of the store.
pub(crate) async fn write_unless_changed<S: Store>(
    store: &S,
    key: &str,
    body: &[u8],
    etag: Option<&str>,
) -> Result<Option<String>, Failure> {
    // After a lost answer, the read finds the write; the next round repeats one that did not arrive.
    for _ in 0..3 {
        let written = match etag {
            Some(etag) => store.replace(key, body, etag).await,
            None => store.create(key, body).await,
        };
        match written {
            Ok(Written::Done(etag)) => return Ok(Some(etag)),
            Err(failure) if !failure.may_have_happened() => return Err(failure),
            Ok(Written::Refused) | Err(_) => {}
        }
        match store.read(key).await? {
            Some(stored) if stored.body == body => return Ok(Some(stored.etag)),
            stored if stored.as_ref().map(|stored| stored.etag.as_str()) == etag => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}
