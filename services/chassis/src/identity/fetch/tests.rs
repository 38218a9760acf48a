use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server of HTTPS for `localhost`, its port, and its certificate, which nobody else has signed.
async fn server() -> (u16, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust us hangs up here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let host = format!("host: localhost:{port}\r\n");
            assert!(String::from_utf8_lossy(&request[..length]).contains(&host));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nkeys").await.unwrap();
        }
    });
    (port, cert.der().clone())
}

fn fetcher(host: &str, port: u16, trusted: Option<&CertificateDer<'static>>) -> Fetcher {
    let url = format!("https://{host}:{port}/keys").parse().unwrap();
    let mut roots = RootCertStore::empty();
    if let Some(certificate) = trusted {
        roots.add(certificate.clone()).unwrap();
    }
    Fetcher::over(url, || Tls::trusting(roots)).unwrap()
}

#[tokio::test]
async fn over_https_only_a_trusted_server_of_the_right_name_is_believed() {
    let (port, certificate) = server().await;
    assert_eq!(fetcher("localhost", port, Some(&certificate)).fetch().await.unwrap(), b"keys");
    for (host, trusted) in [("localhost", None), ("127.0.0.1", Some(&certificate))] {
        let error = fetcher(host, port, trusted).fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::Connect(_)), "{host}: {error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap()).parse().unwrap();
    let error = Fetcher::new(url).unwrap().fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::TimedOut), "{error}");
}
