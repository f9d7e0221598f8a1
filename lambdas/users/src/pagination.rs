//! Pagination of the list of users.
//!
//! The list is sorted by id, and a cursor contains the id that precedes the page. Therefore a user that exists during the
//! whole iteration is on exactly one page, even if other users are created and deleted. The cursor is opaque to callers:
//! its format may change. docs/decisions/0020 explains why this does not use SSCAN of Redis.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::event::Query;
use crate::failure::Failure;

/// The maximum of `limit`, and its default if only a cursor is given.
pub const MAX_PAGE_SIZE: usize = 1000;
const DEFAULT_PAGE_SIZE: usize = 100;

/// Identifies a cursor and the version of its format. Three bytes are four characters of base64, so that the pattern in
/// `openapi.yaml` can contain the prefix.
const CURSOR_PREFIX: &[u8] = b"c1:";

/// The page that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The maximum number of users.
    pub limit: usize,
    /// The page starts after this id. None for the first page.
    pub after: Option<Vec<u8>>,
}

impl PageRequest {
    /// None if the request asks for the whole list.
    pub fn from_query(query: &Query) -> Result<Option<Self>, Failure> {
        let Query { limit, cursor, duplicate } = query;
        if let Some(name) = duplicate {
            return Err(Failure::BadRequest(format!("the query has more than one '{name}'")));
        }
        if limit.is_none() && cursor.is_none() {
            return Ok(None);
        }
        let after = cursor.as_deref().map(read_cursor).transpose()?;
        Ok(Some(Self { limit: limit.as_deref().map_or(Ok(DEFAULT_PAGE_SIZE), read_limit)?, after }))
    }
}

/// The cursor of the page that starts after this id.
pub fn cursor_after(id: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([CURSOR_PREFIX, id].concat())
}

fn read_limit(text: &str) -> Result<usize, Failure> {
    let digits_only = text.bytes().all(|byte| byte.is_ascii_digit()); // `parse` also accepts a "+".
    let limit = text.parse().ok().filter(|limit| digits_only && (1..=MAX_PAGE_SIZE).contains(limit));
    limit.ok_or_else(|| Failure::BadRequest(format!("limit must be a number from 1 to {MAX_PAGE_SIZE}")))
}

fn read_cursor(text: &str) -> Result<Vec<u8>, Failure> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let id = bytes.and_then(|bytes| bytes.strip_prefix(CURSOR_PREFIX).map(<[u8]>::to_vec));
    id.ok_or_else(|| Failure::BadRequest("the cursor is none that this API gave".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: Option<&str>, cursor: Option<&str>) -> Result<Option<PageRequest>, u16> {
        let (limit, cursor) = (limit.map(str::to_owned), cursor.map(str::to_owned));
        let query = Query { limit, cursor, duplicate: None };
        PageRequest::from_query(&query).map_err(|failure| failure.status())
    }

    #[test]
    fn without_parameters_there_are_no_pages() {
        assert_eq!(page(None, None), Ok(None));
        assert_eq!(page(Some("3"), None), Ok(Some(PageRequest { limit: 3, after: None })));
    }

    #[test]
    fn a_cursor_continues_where_its_page_ended() {
        let cursor = cursor_after(b"7f8a");
        assert_eq!(
            page(None, Some(&cursor)),
            Ok(Some(PageRequest { limit: 100, after: Some(b"7f8a".to_vec()) }))
        );
        assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn an_invalid_limit_or_cursor_is_refused() {
        for bad in ["0", "1001", "-1", "+1", "1.0", "", "ten", "99999999999999999999"] {
            assert_eq!(page(Some(bad), None), Err(400), "{bad}");
        }
        for bad in ["", "x", "!", "N2Y4YQ", "MTo="] {
            assert_eq!(page(Some("1"), Some(bad)), Err(400), "{bad}");
        }
    }
}
