//! The finding of a read that AWS did not answer.

use crate::documents::doctor::Finding;
use crate::engine::failure::{Failure, Meaning};

/// If the read was denied, the remedy names the missing permission.
pub(super) fn unread(check: &'static str, failure: &Failure) -> Finding {
    let finding = Finding::unchecked(check, failure.to_string());
    if failure.meaning == Meaning::Denied {
        return finding.remedy(format!("allow the caller {}", failure.operation));
    }
    finding
}
