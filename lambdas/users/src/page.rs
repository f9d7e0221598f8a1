//! Pages of the list: which part is asked for, and where the next one begins.
//!
//! A cursor is the id after which the page begins, and the list is in the order of ids. So it stays right while users come
//! and go: a user that exists all the while is on exactly one page, one that was deleted moves no other. To callers it is
//! opaque: what is in it may change. Why so, and not Redis' own SSCAN: docs/decisions/0020.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::event::Query;
use crate::failure::Failure;

/// The most users on a page, and how many there are if only a cursor was given.
pub const LARGEST_PAGE: usize = 1000;
const USUAL_PAGE: usize = 100;

/// Tells our cursors from other text, and from those of a later format. Three bytes are four letters of base64, so that
/// `openapi.yaml` can say how a cursor begins.
const FORMAT: &[u8] = b"c1:";

/// The part of the list that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The most users on it.
    pub limit: usize,
    /// The id after which it begins; none for the first.
    pub after: Option<Vec<u8>>,
}

impl Page {
    /// None if the whole list is asked for.
    pub fn of(query: &Query) -> Result<Option<Self>, Failure> {
        let Query { limit, cursor, repeated } = query;
        if let Some(name) = repeated {
            return Err(Failure::BadRequest(format!("the query has more than one '{name}'")));
        }
        if limit.is_none() && cursor.is_none() {
            return Ok(None);
        }
        let after = cursor.as_deref().map(read_cursor).transpose()?;
        Ok(Some(Self { limit: limit.as_deref().map_or(Ok(USUAL_PAGE), read_limit)?, after }))
    }
}

/// The cursor of the page after this id.
pub fn cursor_after(id: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([FORMAT, id].concat())
}

fn read_limit(text: &str) -> Result<usize, Failure> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit()); // `parse` takes a "+", too.
    let limit = text.parse().ok().filter(|limit| digits_only && (1..=LARGEST_PAGE).contains(limit));
    limit.ok_or_else(|| Failure::BadRequest(format!("limit must be a number from 1 to {LARGEST_PAGE}")))
}

fn read_cursor(text: &str) -> Result<Vec<u8>, Failure> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let id = bytes.and_then(|bytes| bytes.strip_prefix(FORMAT).map(<[u8]>::to_vec));
    id.ok_or_else(|| Failure::BadRequest("the cursor is none that this API gave".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: Option<&str>, cursor: Option<&str>) -> Result<Option<Page>, u16> {
        let (limit, cursor) = (limit.map(str::to_owned), cursor.map(str::to_owned));
        let query = Query { limit, cursor, repeated: None };
        Page::of(&query).map_err(|failure| failure.status())
    }

    #[test]
    fn without_parameters_there_are_no_pages() {
        assert_eq!(page(None, None), Ok(None));
        assert_eq!(page(Some("3"), None), Ok(Some(Page { limit: 3, after: None })));
    }

    #[test]
    fn a_cursor_leads_to_where_it_was_made() {
        let cursor = cursor_after(b"7f8a");
        assert_eq!(page(None, Some(&cursor)), Ok(Some(Page { limit: 100, after: Some(b"7f8a".to_vec()) })));
        assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn what_is_no_limit_or_cursor_is_refused() {
        for bad in ["0", "1001", "-1", "+1", "1.0", "", "ten", "99999999999999999999"] {
            assert_eq!(page(Some(bad), None), Err(400), "{bad}");
        }
        for bad in ["", "x", "!", "N2Y4YQ", "MTo="] {
            assert_eq!(page(Some("1"), Some(bad)), Err(400), "{bad}");
        }
    }
}
