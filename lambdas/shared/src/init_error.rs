//! Reports an initialisation error to Lambda, so that the reason is in the response to the invocation and not only in the
//! log. `lambda_runtime` has no function for this; the request to the Runtime API is short enough to write here.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::log;

const TIMEOUT: Duration = Duration::from_secs(1);

/// Logs the error and posts it to the Runtime API, if its address is set. The caller then exits with a failure.
pub fn report(error: &dyn Error) {
    log::error("the function cannot start", error);
    if let Ok(runtime_api) = std::env::var("AWS_LAMBDA_RUNTIME_API")
        && let Err(lost) = post(&runtime_api, &request(&runtime_api, &error.to_string()))
    {
        log::error("the start-up error could not be reported to Lambda", &lost);
    }
}

fn request(runtime_api: &str, message: &str) -> String {
    let body = serde_json::json!({ "errorType": "Init.Settings", "errorMessage": message, "stackTrace": [] })
        .to_string();
    format!(
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: {runtime_api}\r\nContent-Type: application/json\r\n\
         Lambda-Runtime-Function-Error-Type: Init.Settings\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn post(runtime_api: &str, request: &str) -> std::io::Result<()> {
    let address = runtime_api.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    // Waits for the response, or the report may be lost when the process exits. Its content does not matter.
    stream.read(&mut [0; 64]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_api_receives_the_complete_report() -> std::io::Result<()> {
        let api = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = api.local_addr()?.to_string();
        let text = request(&address, "unknown handler 'x'");
        let expected = text.clone();
        let server = std::thread::spawn(move || -> std::io::Result<String> {
            let (mut stream, _) = api.accept()?;
            let mut received = vec![0; expected.len()];
            stream.read_exact(&mut received)?;
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?;
            Ok(String::from_utf8_lossy(&received).into_owned())
        });
        post(&address, &text)?;
        let received = server.join().map_err(|_| std::io::Error::other("the server died"))??;
        assert!(received.ends_with(
            r#"{"errorMessage":"unknown handler 'x'","errorType":"Init.Settings","stackTrace":[]}"#
        ));
        Ok(())
    }
}
