//! A ledger record as a CloudEvent, and its signature. Values only.
//!
//! The event is CloudEvents 1.0 in structured mode. It is signed as <https://www.standardwebhooks.com> says, for which
//! receivers find libraries in many languages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Value, json};

use super::model::{AccountId, StageName};
use super::record::Record;

/// The prefix of a secret in base64.
const PREFIX: &str = "whsec_";

/// A key that signs events. Without `Debug` and `Serialize`, so that it is nowhere printed.
pub(crate) struct Secret(hmac::Key);

/// What of the stage is in an event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender<'a> {
    pub(crate) project: &'a str,
    pub(crate) stage: &'a StageName,
    pub(crate) account: &'a AccountId,
    pub(crate) region: &'a str,
}

/// An event with its body. The id is the same at each attempt, so that a receiver can ignore a second one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notification {
    pub(crate) id: String,
    pub(crate) body: String,
}

impl Notification {
    pub(crate) fn of(record: &Record, sender: Sender<'_>) -> Self {
        let Sender { project, stage, account, region } = sender;
        // A ledger that was deleted starts at 1 again.
        let id = format!("{stage}-{}-{}", record.number, record.at.as_second());
        let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let (action, outcome) = (word(json!(record.action)), word(json!(record.outcome)));
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": format!("urn:deployctl:{account}:{region}:{project}:{stage}"),
            "type": format!("deployctl.{action}.{outcome}"),
            "subject": record.release.version,
            "time": record.at,
            "datacontenttype": "application/json",
            "data": record,
        });
        Self { id, body: event.to_string() }
    }

    /// The value of the header `webhook-signature`, for an attempt at this time.
    pub(crate) fn signature(&self, secret: &Secret, at: Timestamp) -> String {
        let signed = format!("{}.{}.{}", self.id, at.as_second(), self.body);
        let tag = hmac::sign(&secret.0, signed.as_bytes());
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    }
}

impl Secret {
    /// The key of `text`: base64 after `whsec_`, or the bytes themselves. `None` if it is shorter than 24 bytes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = match text.strip_prefix(PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).ok()?,
            None => text.as_bytes().to_vec(),
        };
        (bytes.len() >= 24).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of Standard Webhooks.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let notification = Notification {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
            body: r#"{"test": 2432232314}"#.into(),
        };
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(notification.signature(&secret, at), expected);
        let later = Timestamp::from_second(1_614_265_331).unwrap();
        assert_ne!(notification.signature(&secret, later), expected);
    }

    #[test]
    fn a_short_secret_is_none() {
        for text in ["", "short", "whsec_c2hvcnQ=", "whsec_not base64 at all, but long"] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
        assert!(Secret::parse("0123456789abcdef01234567\n").is_some());
    }
}
