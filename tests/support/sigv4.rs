//! Requests signed by hand, as AWS documents it (Signature Version 4): tests have to be able to sign wrongly.

use sha2::{Digest as _, Sha256};

/// The time in AWS's words, `seconds` from now.
pub(crate) fn time(seconds: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The headers `X-Amz-Date` and `Authorization` of a request without a query.
pub(crate) fn headers(
    (account, secret): (&str, &str),
    service: &str,
    at: &str,
    (method, host, path, target): (&str, &str, &str, &str),
    body: &[u8],
) -> [(&'static str, String); 2] {
    let scope = format!("{}/us-east-1/{service}/aws4_request", &at[..8]);
    let (named, names) = if target.is_empty() {
        (String::new(), "host;x-amz-date")
    } else {
        (format!("x-amz-target:{target}\n"), "host;x-amz-date;x-amz-target")
    };
    let request = format!(
        "{method}\n{path}\n\nhost:{host}\nx-amz-date:{at}\n{named}\n{names}\n{}",
        hex(&Sha256::digest(body))
    );
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex(&hmac(&key, text.as_bytes()));
    let credential = format!("Credential={account}/{scope}");
    let all = format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}");
    [("X-Amz-Date", at.to_owned()), ("Authorization", all)]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    block.resize(64, 0);
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::digest([pad(0x36).as_slice(), text].concat());
    Sha256::digest([pad(0x5c).as_slice(), inner.as_slice()].concat()).to_vec()
}
