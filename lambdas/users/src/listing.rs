//! Many users as one JSON array, read until Lambda could carry no more.

use crate::document::stored_user;
use crate::failure::Failure;
use crate::response::{LARGEST_ANSWER, size_in_json};
use crate::store::Store;
use shared::log::Scope;

/// How many users are read at once. Each has at most 256 KB: whatever they are, a function of 256 MB can hold them.
const READ_AT_ONCE: usize = 512;
/// The brackets of the array, and what a page has around it.
const AROUND: usize = 256;

/// The first users of a list.
#[derive(Debug)]
pub(crate) struct Listing {
    /// How many ids are dealt with: their users are in it, or are not there any more.
    pub read: usize,
    array: String,
    size: usize,
}

impl Listing {
    /// Reads the users with these ids, in their order, until the answer is full. Users that have expired are left out, and so
    /// are damaged ones: one must not take the others with it.
    pub async fn read(store: &Store, ids: &[Vec<u8>], scope: &Scope) -> Result<Self, Failure> {
        let mut list = Self { read: 0, array: "[".to_owned(), size: AROUND };
        let mut damaged = false;
        'reading: for some in ids.chunks(READ_AT_ONCE) {
            for bytes in store.read(some).await? {
                match bytes.map(stored_user) {
                    None => {}
                    Some(None) => damaged = true,
                    Some(Some(user)) if list.push(&user) => {}
                    Some(Some(_)) => break 'reading,
                }
                list.read += 1;
            }
        }
        if damaged {
            scope.error("the list leaves out stored users that are not JSON objects", &Failure::Damaged);
        }
        Ok(list)
    }

    /// False if there is no room for it.
    fn push(&mut self, user: &str) -> bool {
        let size = self.size + size_in_json(user) + 1;
        if size > LARGEST_ANSWER {
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
    pub fn into_array(mut self) -> String {
        self.array.push(']');
        self.array
    }
}
