//! How CloudWatch Logs returns the events of a log group: page by page, of all streams or of those that are named.

use std::time::{Duration, SystemTime};

use aws_sdk_cloudwatchlogs as logs;
use logs::primitives::DateTime;
use logs::types::InputLogEvent;

use crate::support::sdk;

/// More than one page, which has at most 10,000 events.
const EVENTS: usize = 12_000;
const GROUP: &str = "/aws/lambda/busy";

/// The last event of a busy function is found behind those of its other version, and without them.
pub(crate) async fn are_read_page_by_page(endpoint: &str) {
    let config = sdk::config(endpoint, "000000000000");
    let client = logs::Client::new(&config);
    client.create_log_group().log_group_name(GROUP).send().await.unwrap();
    let now = SystemTime::now();
    let event = |text: &str, seconds: u64| {
        let at = DateTime::from(now - Duration::from_secs(seconds)).to_millis().unwrap();
        InputLogEvent::builder().timestamp(at).message(text).build().unwrap()
    };
    for (stream, count, text, seconds) in [
        ("2026/11/25/[1]a", EVENTS / 2, "old", 30),
        ("2026/11/25/[1]b", EVENTS / 2, "old", 20),
        ("2026/11/26/[2]a", 1, "new", 10),
    ] {
        client.create_log_stream().log_group_name(GROUP).log_stream_name(stream).send().await.unwrap();
        let events = (0..count).map(|_| event(text, seconds)).collect();
        let put = client.put_log_events().log_group_name(GROUP).log_stream_name(stream);
        put.set_log_events(Some(events)).send().await.unwrap();
    }
    let read = async |prefix: Option<&str>| {
        let pages = client.filter_log_events().log_group_name(GROUP).start_time(event("", 60).timestamp());
        let mut pages = pages.set_log_stream_name_prefix(prefix.map(str::to_owned)).into_paginator().send();
        let mut messages = Vec::new();
        while let Some(page) = pages.next().await {
            let events = page.unwrap().events.unwrap_or_default();
            messages.extend(events.into_iter().filter_map(|event| event.message));
        }
        messages
    };
    let every = read(None).await;
    assert_eq!((every.len(), every.last().map(String::as_str)), (EVENTS + 1, Some("new")));
    assert_eq!(read(Some("2026/11/26/[2]")).await, ["new"]);
    assert_eq!(read(Some("2026/11/26/[3]")).await, [""; 0]);
}
