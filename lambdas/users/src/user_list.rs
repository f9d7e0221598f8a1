//! Reads users into one JSON array, up to the maximum size of a Lambda response.

use crate::document::stored_user;
use crate::failure::Failure;
use crate::response::{MAX_RESPONSE_SIZE, size_in_json};
use crate::store::Store;
use shared::log::LogContext;

/// The number of users in one command. Each has at most 256 KB, so that a batch fits into the memory of a function.
const BATCH_SIZE: usize = 512;
/// The size of the JSON around the users: the brackets, and the other fields of a page.
const ENVELOPE_SIZE: usize = 256;

/// The users that fit into one response.
#[derive(Debug)]
pub(crate) struct UserList {
    /// The number of ids that were processed. Their users are in the list, or do not exist any more.
    pub processed: usize,
    array: String,
    size: usize,
}

impl UserList {
    /// Reads the users with these ids, in order, until the response is full. Expired and damaged users are left out.
    pub(crate) async fn read(
        store: &Store,
        ids: &[Vec<u8>],
        log_context: &LogContext,
    ) -> Result<Self, Failure> {
        let mut list = Self { processed: 0, array: "[".to_owned(), size: ENVELOPE_SIZE };
        let mut damaged = false;
        'reading: for batch in ids.chunks(BATCH_SIZE) {
            for bytes in store.read(batch).await? {
                match bytes.map(stored_user) {
                    None => {}
                    Some(None) => damaged = true,
                    Some(Some(user)) if list.push(&user) => {}
                    Some(Some(_)) => break 'reading,
                }
                list.processed += 1;
            }
        }
        if damaged {
            log_context
                .error("the list leaves out stored users that are not JSON objects", &Failure::Damaged);
        }
        Ok(list)
    }

    /// Returns false if the user does not fit.
    fn push(&mut self, user: &str) -> bool {
        let size = self.size + size_in_json(user) + 1;
        if size > MAX_RESPONSE_SIZE {
            return false;
        }
        self.size = size;
        if self.array.len() > 1 {
            self.array.push(',');
        }
        self.array.push_str(user);
        true
    }

    /// The JSON text.
    pub(crate) fn into_array(mut self) -> String {
        self.array.push(']');
        self.array
    }
}
