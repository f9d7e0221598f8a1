//! Whatever bytes come, no parser panics; whatever is cut off is an error and not half an answer.

use deployctl::terraform::messages::Message;
use deployctl::terraform::outputs::{Outputs, from_state};
use deployctl::terraform::plan::Plan;
use deployctl::terraform::version::Version;
use proptest::prelude::*;

const STREAM: &str = include_str!("../fixtures/terraform/sigint.jsonl");
const PLAN: &[u8] = include_bytes!("../fixtures/terraform/show-replan.json");
const STATE: &[u8] = include_bytes!("../fixtures/terraform/state.json");
const OUTPUT: &[u8] = include_bytes!("../fixtures/terraform/output.json");

/// `bytes` with some of them replaced, and cut off somewhere.
fn damaged(bytes: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((0..bytes.len(), any::<u8>()), 0..8);
    (changes, 0..=bytes.len()).prop_map(move |(changes, end)| {
        let mut bytes = bytes.to_vec();
        for (index, byte) in changes {
            bytes[index] = byte;
        }
        bytes.truncate(end);
        bytes
    })
}

fn read_all(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        drop(Message::parse(line));
        drop(Version::parse(line));
    }
    drop(Plan::parse(bytes));
    drop(from_state(bytes));
    drop(Outputs::from_output(bytes));
}

proptest! {
    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read_all(&bytes);
    }

    #[test]
    fn a_damaged_stream(bytes in damaged(STREAM.as_bytes())) {
        read_all(&bytes);
    }

    #[test]
    fn a_damaged_plan(bytes in damaged(PLAN)) {
        read_all(&bytes);
    }

    #[test]
    fn a_damaged_state(bytes in damaged(STATE)) {
        read_all(&bytes);
    }

    #[test]
    fn what_is_cut_off_is_an_error(part in 0.0..1.0f64) {
        // The last byte may be a line's end, which says nothing.
        let cut = |bytes: &[u8]| ((bytes.len() - 2) as f64 * part) as usize;
        prop_assert!(Plan::parse(&PLAN[..cut(PLAN)]).is_err());
        prop_assert!(from_state(&STATE[..cut(STATE)]).is_err());
        prop_assert!(Outputs::from_output(&OUTPUT[..cut(OUTPUT)]).is_err());
    }

    #[test]
    fn any_object_that_says_its_type_is_a_message(kind in "[a-z_]{1,20}", text in any::<String>()) {
        let line = serde_json::json!({ "type": kind, "@message": text }).to_string();
        prop_assert!(Message::parse(&line).is_some());
    }
}
