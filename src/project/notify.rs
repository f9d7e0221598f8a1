//! Sends ledger records to the URL of `[notify]`, after the lease was released. It cannot fail a command: a failure is a
//! warning, and all of it takes limited time.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::redirect::Policy;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::aws::http::Trust;
use crate::event::Events;
use crate::project::settings::{NotifySettings, Settings};
use crate::release::notification::{Notification, Secret, Sender};
use crate::release::record::Record;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How long all attempts for all records of a command may take together.
const ALL: Duration = Duration::from_secs(15);

/// The same after an interrupt: GitHub kills a job 7.5 s after it.
const AFTER_INTERRUPT: Duration = Duration::from_secs(2);

/// The pauses between the attempts.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Why an attempt failed, and whether another one may succeed.
struct Unsent {
    reason: String,
    again: bool,
}

/// Sends the records, in this order.
pub(crate) async fn send(
    settings: &Settings,
    records: &[Record],
    events: &Events,
    cancel: &CancellationToken,
) {
    let Some(notify) = settings.notify.as_ref().filter(|_| !records.is_empty()) else { return };
    let work = async {
        match timeout(ALL, send_all(settings, notify, records)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", ALL.as_secs())),
        }
    };
    let late = async {
        cancel.cancelled().await;
        sleep(AFTER_INTERRUPT).await;
    };
    let sent = async {
        tokio::select! {
            result = work => result,
            () = late => Err("interrupted".to_owned()),
        }
    };
    if let Err(reason) = events.step("notify", sent).await {
        let host = notify.url.host_str().unwrap_or_default();
        events.warn(format!("{host} was not notified of this operation: {reason}"));
    }
}

async fn send_all(settings: &Settings, notify: &NotifySettings, records: &[Record]) -> Result<(), String> {
    let NotifySettings { url, secret_env } = notify;
    let secret = std::env::var(secret_env).map_err(|_| format!("{secret_env} is not set"))?;
    let secret = Secret::parse(&secret).ok_or_else(|| {
        format!("{secret_env} is no secret: at least 24 bytes, or base64 of them after whsec_")
    })?;
    let client = client().map_err(|error| error.to_string())?;
    let stage = &settings.stage;
    let (name, account) = (&stage.name, &stage.account);
    let sender = Sender { project: &settings.project, stage: name, account, region: &stage.region };
    for record in records {
        deliver(&client, url, &secret, &Notification::of(record, sender)).await?;
    }
    Ok(())
}

/// Sends one event, with as many attempts as there are pauses, and one more.
async fn deliver(
    client: &reqwest::Client,
    url: &reqwest::Url,
    secret: &Secret,
    notification: &Notification,
) -> Result<(), String> {
    let mut pauses = PAUSES.iter();
    while let Err(Unsent { reason, again }) = attempt(client, url, secret, notification).await {
        match pauses.next().filter(|_| again) {
            Some(pause) => sleep(*pause).await,
            None => return Err(reason),
        }
    }
    Ok(())
}

/// A client that follows no redirect: a signed event is for one URL.
fn client() -> Result<reqwest::Client, String> {
    let trust = Trust::from_env().map_err(|error| error.to_string())?;
    let caller = trust.caller().map(|caller| caller.timeout(ATTEMPT).redirect(Policy::none()));
    caller.and_then(reqwest::ClientBuilder::build).map_err(|error| error.to_string())
}

async fn attempt(
    client: &reqwest::Client,
    url: &reqwest::Url,
    secret: &Secret,
    notification: &Notification,
) -> Result<(), Unsent> {
    let now = Timestamp::now();
    let request = client
        .post(url.clone())
        .header("content-type", "application/cloudevents+json; charset=utf-8")
        .header("webhook-id", &notification.id)
        .header("webhook-timestamp", now.as_second())
        .header("webhook-signature", notification.signature(secret, now))
        .body(notification.body.clone());
    match request.send().await {
        // Without the URL, whose path may be a secret.
        Err(error) => Err(Unsent { reason: error.without_url().to_string(), again: true }),
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => {
            let status = answer.status();
            let again = status.is_server_error() || [408, 429].contains(&status.as_u16());
            Err(Unsent { reason: format!("status {status}"), again })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn notification() -> Notification {
        Notification { id: "prd-1-0".into(), body: r#"{"specversion":"1.0"}"#.into() }
    }

    fn secret() -> Secret {
        Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
    }

    /// Delivers the event to a server with these answers. Returns the result and the requests.
    async fn delivered(answers: &'static [&'static str]) -> (Result<(), String>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
        let (client, secret, notification) = (client().unwrap(), secret(), notification());
        let mut requests = Vec::new();
        let serve = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = String::new();
                while !request.ends_with(&notification.body) {
                    let mut bytes = [0; 4096];
                    let count = stream.read(&mut bytes).await.unwrap();
                    request.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                requests.push(request);
                let head = "Connection: close\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(format!("HTTP/1.1 {answer}\r\n{head}").as_bytes()).await.unwrap();
            }
        };
        let (result, ()) = tokio::join!(deliver(&client, &url, &secret, &notification), serve);
        (result, requests)
    }

    fn header<'a>(request: &'a str, name: &str) -> &'a str {
        let line = request.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {request}")).split_once(": ").unwrap().1
    }

    #[tokio::test]
    async fn an_event_is_signed_and_sent_again_after_a_server_error() {
        let (result, requests) = delivered(&["503 x", "200 x"]).await;
        result.unwrap();
        assert_eq!(requests.len(), 2);
        for request in requests {
            assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
            assert_eq!(header(&request, "webhook-id"), "prd-1-0");
            assert!(header(&request, "content-type").starts_with("application/cloudevents+json"));
            let at: i64 = header(&request, "webhook-timestamp").parse().unwrap();
            assert!((Timestamp::now().as_second() - at).abs() < 60);
            let expected = notification().signature(&secret(), Timestamp::from_second(at).unwrap());
            assert_eq!(header(&request, "webhook-signature"), expected);
        }
    }

    #[tokio::test]
    async fn a_refusal_and_a_redirect_are_final() {
        for (answer, status) in [("400 x", "400"), ("307 x\r\nLocation: http://127.0.0.1:9/", "307")] {
            let answers: &'static [&'static str] = Vec::leak(vec![answer]);
            let (result, requests) = delivered(answers).await;
            assert!(result.unwrap_err().contains(status), "{status}");
            assert_eq!(requests.len(), 1);
        }
    }
}
