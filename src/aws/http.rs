//! The HTTP clients: the one of the SDK, and the one that sends requests as a caller of an API does.
//!
//! Both use the proxy of the environment. For AWS, both trust the certificates in the file of `AWS_CA_BUNDLE`,
//! which Terraform's provider reads, too. As for the AWS CLI, the SDK then trusts no others; a probe may go to
//! any host, so its client trusts them in addition.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use crate::error::{Error, ErrorId, Result};

const CA_BUNDLE: &str = "AWS_CA_BUNDLE";

/// The certificates in the file of `AWS_CA_BUNDLE`, as PEM; `None` for those of the system.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust(Option<Vec<u8>>);

impl Trust {
    /// Reads the file of `AWS_CA_BUNDLE`.
    ///
    /// # Errors
    /// `aws.ca_bundle`.
    pub(crate) fn from_env() -> Result<Self> {
        let Some(file) = std::env::var_os(CA_BUNDLE).filter(|file| !file.is_empty()) else {
            return Ok(Self(None));
        };
        let failed = || {
            let message = format!("failed to read the certificates of {CA_BUNDLE}, {}", file.display());
            Error::preflight(ErrorId::AwsCaBundle, message)
                .hint("nothing was changed; let it name a file with certificates in PEM, or unset it")
        };
        let bytes = std::fs::read(&file).map_err(|source| failed().because(source))?;
        let trust = Self(Some(bytes));
        // The SDK's client would panic.
        match trust.is_valid() {
            Ok(true) => Ok(trust),
            Ok(false) => Err(failed()),
            Err(source) => Err(failed().because(source)),
        }
    }

    /// Whether there are certificates, and all can be used.
    fn is_valid(&self) -> reqwest::Result<bool> {
        let certificates = self.certificates()?;
        let has_some = !certificates.is_empty();
        client().tls_certs_only(certificates).build().map(|_| has_some)
    }

    fn certificates(&self) -> reqwest::Result<Vec<reqwest::Certificate>> {
        self.0.as_deref().map_or_else(|| Ok(Vec::new()), reqwest::Certificate::from_pem_bundle)
    }

    /// A client that sends requests as a caller of an API does.
    pub(crate) fn caller(&self) -> reqwest::Result<reqwest::ClientBuilder> {
        let builder = client().user_agent(concat!("deployctl/", env!("CARGO_PKG_VERSION")));
        Ok(match self.certificates()? {
            certificates if certificates.is_empty() => builder,
            certificates => builder.tls_certs_merge(certificates),
        })
    }

    /// The SDK's client.
    pub(super) fn sdk(&self) -> SharedHttpClient {
        let store = match &self.0 {
            Some(certificates) => TrustStore::empty().with_pem_certificate(certificates.clone()),
            None => TrustStore::default(),
        };
        // As the SDK's default client.
        let client = Builder::new().build_with_connector_fn(move |settings, components| {
            let tls = TlsContext::builder().with_trust_store(store.clone()).build().unwrap_or_default();
            let mut builder = ConnectorBuilder::default()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(tls)
                .proxy_config(ProxyConfig::from_env());
            builder.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                builder.set_sleep_impl(components.sleep_impl());
            }
            builder.build()
        });
        SharedHttpClient::new(Client { client, failures: Arc::default() })
    }
}

fn client() -> reqwest::ClientBuilder {
    // reqwest uses what the process has chosen. It is chosen only once: later calls fail.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
}

/// A connection that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreached {
    pub(super) host: String,
    pub(super) cause: String,
    pub(super) timed_out: bool,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, cause, .. } = self;
        write!(f, "cannot reach {host}: {cause}")
    }
}

impl std::error::Error for Unreached {}

impl Unreached {
    /// The failed connection in the causes of `error`.
    pub(super) fn of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        causes(error).find_map(|cause| cause.downcast_ref())
    }

    /// The failed connection of a request of a caller.
    pub(super) fn of_caller(error: &reqwest::Error) -> Option<Self> {
        let host = error.url().and_then(|url| url.host_str()).unwrap_or_default().to_owned();
        let timed_out = error.is_timeout();
        error.is_connect().then(|| Self { host, cause: root_cause(error), timed_out })
    }
}

/// The SDK's client, which names the host of a failed connection. Without it, the failure of a request for
/// credentials would not say where it went to.
#[derive(Debug)]
struct Client {
    client: SharedHttpClient,
    /// The connections that failed in a row.
    failures: Arc<AtomicU32>,
}

/// From this number of failed connections on, the SDK makes no further attempts by itself: its attempts for
/// credentials would take longer than the credentials may take. Calls are repeated by [`super::retry`].
const MAX_FAILURES: u32 = 2;

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.client.http_connector(settings, components);
        SharedHttpConnector::new(Connector { connector, failures: Arc::clone(&self.failures) })
    }
}

#[derive(Debug)]
struct Connector {
    connector: SharedHttpConnector,
    failures: Arc<AtomicU32>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let host = host(request.uri());
        let (answer, failures) = (self.connector.call(request), Arc::clone(&self.failures));
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            match answer {
                Ok(answer) => {
                    failures.store(0, Ordering::Relaxed);
                    Ok(answer)
                }
                Err(error) => Err(named(error, host, &failures)),
            }
        })
    }
}

fn named(error: ConnectorError, host: String, failures: &AtomicU32) -> ConnectorError {
    let is_connect = |cause: &(dyn std::error::Error + 'static)| {
        let text = cause.to_string();
        ["(Connect)", "connect timeout", "dns error"].iter().any(|word| text.contains(word))
    };
    if !causes(&error).any(is_connect) {
        return error;
    }
    let timed_out = error.is_timeout();
    let unreached = Unreached { host, cause: root_cause(&error), timed_out };
    if failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
        return ConnectorError::other(unreached.into(), None);
    }
    match timed_out {
        true => ConnectorError::timeout(unreached.into()),
        false => ConnectorError::io(unreached.into()),
    }
}

/// The host of a URL, with its port.
pub(super) fn host(uri: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default().to_owned()
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_request() {
        assert_eq!(host("https://sts.eu-central-1.amazonaws.com/"), "sts.eu-central-1.amazonaws.com");
        assert_eq!(host("http://127.0.0.1:4566?x"), "127.0.0.1:4566");
    }

    #[test]
    fn a_file_that_is_no_certificate_is_refused_before_the_sdk_reads_it() {
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let trust = Trust(Some(text.as_bytes().to_vec()));
            assert!(!matches!(trust.is_valid(), Ok(true)), "{text:?}");
        }
        assert!(Trust::default().caller().unwrap().build().is_ok());
    }

    #[tokio::test]
    async fn a_failed_connection_names_its_host_and_cause() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Trust::default().caller().unwrap().no_proxy().build().unwrap();
        let error = client.get(format!("http://127.0.0.1:{port}/x")).send().await.unwrap_err();
        let text = Unreached::of_caller(&error).unwrap().to_string();
        assert!(text.starts_with("cannot reach 127.0.0.1: Connection refused"), "{text}");
    }
}
