//! Sessions that spin, and wires that say things twice.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, mpsc},
    time::Duration,
};

use parking_lot::Mutex;
use rustls::pki_types::PrivateKeyDer;

use synapse_rs::{
    Event, Publisher, RedisSettings,
    publisher::{PublisherConfig, SpoolConfig},
};
use synapse_test_support::{RedisServer, eventually, free_port};

use crate::support::*;

fn padded(number: u64, bytes: usize) -> Event {
    numbered(number).with("padding", "x".repeat(bytes))
}

/// Runs a test on one thread, as the Python module does; a writer that spins there hangs everything.
fn on_one_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
        done.send(()).unwrap();
    });
    let ended = is_done.recv_timeout(Duration::from_secs(25));
    assert!(ended != Err(mpsc::RecvTimeoutError::Timeout), "the runtime hangs: a task never yields");
    thread.join().unwrap();
}

/// While one batch is in flight, the next begins a new stream and a third is ready.
#[test]
fn a_new_stream_behind_a_batch_in_flight_does_not_stop_the_world() {
    on_one_thread(|| async {
        let server = RedisServer::new();
        let publisher = Publisher::start(settings(&server), PublisherConfig::default());
        publisher.publish("a", &numbered(0)).unwrap();
        publisher.flush(PATIENCE).await.unwrap();
        admin::<()>(&server, &["CLIENT", "PAUSE", "300", "WRITE"]);
        publisher.publish("a", &numbered(1)).unwrap();
        eventually("it is in flight", || async { (publisher.stats().queued == 0).then_some(()) }).await;
        for number in 0..700 {
            publisher.publish("b", &padded(number, 1_000)).unwrap();
        }
        publisher.flush(PATIENCE).await.unwrap();
        assert_eq!(numbers(&server, "b").await.len(), 700);
    });
}

/// The queue is three quarters full of events that are on disk already, and whose receipts somebody holds.
#[test]
fn a_crowd_of_receipts_does_not_stop_the_world() {
    on_one_thread(|| async {
        let server = RedisServer::new();
        let dir = tempfile::tempdir().unwrap();
        // Two batches of those on disk are on their way at once.
        let config = PublisherConfig {
            queue_events: 100,
            max_batch_bytes: 4096,
            spool: Some(SpoolConfig::new(dir.path())),
            ..PublisherConfig::default()
        };
        let publisher = Publisher::start(settings(&server), config);
        publisher.publish(STREAM, &numbered(0)).unwrap();
        publisher.flush(PATIENCE).await.unwrap();
        admin::<()>(&server, &["CLIENT", "PAUSE", "300", "WRITE"]);
        let receipts: Vec<_> =
            (1..=80).map(|number| publisher.send(STREAM, &numbered(number)).unwrap()).collect();
        for receipt in receipts {
            receipt.await.unwrap();
        }
        publisher.flush(PATIENCE).await.unwrap();
    });
}

/// What TLS has taken and not yet written must not be written again when a reply comes meanwhile.
#[tokio::test]
async fn a_slow_socket_under_tls_gets_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let certificate_file = dir.path().join("cert.pem");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate_file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let certificate = made.cert.der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn({
        let seen = seen.clone();
        async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                slow_server(acceptor.accept(socket).await.unwrap(), &seen).await;
            }
        }
    });
    let settings =
        RedisSettings::from_url(&format!("rediss://localhost:{port}/?ca={}", certificate_file.display()))
            .unwrap();
    let config = PublisherConfig { max_batch_bytes: 24 * 1024 * 1024, ..PublisherConfig::default() };
    // One batch each; one of these sizes ends where the socket is full and TLS still has room.
    for events in (130..360).step_by(3) {
        seen.lock().clear();
        let publisher = Publisher::start(settings.clone(), config.clone());
        publisher.publish("warm", &numbered(0)).unwrap();
        publisher.publish(STREAM, &numbered(1)).unwrap();
        publisher.flush(PATIENCE).await.unwrap();
        let publish = async {
            for number in 2..events {
                publisher.publish(STREAM, &padded(number, 16_000)).unwrap();
            }
        };
        publish.await;
        let flushed = publisher.flush(PATIENCE).await;
        let (stats, seen) = (publisher.stats(), seen.lock().clone());
        let doubled = seen.len() - seen.iter().collect::<std::collections::HashSet<_>>().len();
        assert!(
            stats.lost_connections == 0 && seen == (0..events).collect::<Vec<_>>(),
            "{} XADD instead of {events}, {doubled} of them twice, the flush says {flushed:?}, {stats:?}",
            seen.len()
        );
        publisher.close(PATIENCE).await.unwrap();
    }
}

/// Executes `XADD` as a slow redis would, and notes down the numbers; leaves when the requests are out of step.
async fn slow_server(
    mut socket: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    seen: &Mutex<Vec<u64>>,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut buffer, mut bytes) = (Vec::new(), vec![0; 32 * 1024]);
    while let Ok(count) = socket.read(&mut bytes).await {
        buffer.extend_from_slice(&bytes[..count]);
        let mut at = 0;
        while let Some((arguments, behind)) = command(&buffer[at..]) {
            at += behind;
            let answer = match arguments.first().map(String::as_str) {
                Some("PING") => "+PONG\r\n".to_owned(),
                Some("XADD") => {
                    let place = arguments.iter().position(|name| name == "number").unwrap();
                    seen.lock().push(arguments[place + 1].parse().unwrap());
                    format!("$3\r\n{}-1\r\n", seen.lock().len() % 9 + 1)
                }
                Some("XINFO") => "-ERR no such key\r\n".to_owned(),
                Some("INFO") => "-ERR unknown\r\n".to_owned(),
                other => panic!("out of step: {other:?}"),
            };
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        socket.flush().await.unwrap();
        buffer.drain(..at);
        if count == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A whole command and its length.
fn command(buffer: &[u8]) -> Option<(Vec<String>, usize)> {
    let line = |at: usize| {
        let end = at + buffer.get(at..)?.windows(2).position(|two| two == b"\r\n")?;
        Some((std::str::from_utf8(&buffer[at..end]).unwrap_or("?").to_owned(), end + 2))
    };
    let (head, mut at) = line(0)?;
    let Some(count) = head.strip_prefix('*').and_then(|count| count.parse::<usize>().ok()) else {
        panic!("out of step: {:?}", &head[..head.len().min(60)]);
    };
    let mut arguments = Vec::new();
    for _ in 0..count {
        let (head, start) = line(at)?;
        let Some(len) = head.strip_prefix('$').and_then(|len| len.parse::<usize>().ok()) else {
            panic!("out of step: {:?}", &head[..head.len().min(60)]);
        };
        arguments.push(String::from_utf8_lossy(buffer.get(start..start + len)?).into_owned());
        at = start + len + 2;
    }
    (buffer.len() >= at).then_some((arguments, at))
}

/// A server that is no redis: it says this to events, and after that reads on or reads nothing any more.
fn liar(to_event: String, reads_on: bool) -> RedisSettings {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = socket.read(&mut bytes) {
                let request = String::from_utf8_lossy(&bytes[..count]);
                let is_event = request.contains("XADD");
                let answer = match () {
                    () if request.contains("PING") => "+PONG\r\n",
                    () if is_event => &to_event,
                    () => "-ERR no such key\r\n",
                };
                if socket.write_all(answer.as_bytes()).is_err() {
                    break;
                }
                if is_event && !reads_on {
                    loop {
                        std::thread::park();
                    }
                }
            }
        }
    });
    RedisSettings::from_url(&format!("redis://127.0.0.1:{port}")).unwrap()
}

/// Something that is not redis answers requests which it has not been sent.
#[test]
fn replies_to_what_was_not_sent_do_not_stop_the_world() {
    on_one_thread(|| async {
        const EVENTS: u64 = 600;
        let config = PublisherConfig { max_batch_bytes: 32 * 1024 * 1024, ..PublisherConfig::default() };
        let publisher = Publisher::start(liar("$3\r\n1-1\r\n".repeat(600), false), config);
        for number in 0..EVENTS {
            publisher.publish(STREAM, &padded(number, 20_000)).unwrap();
        }
        publisher.flush(Duration::from_secs(2)).await.unwrap_err();
        publisher.close(Duration::from_millis(100)).await.unwrap_err();
        assert!(publisher.has_ended());
        assert!(publisher.stats().published < EVENTS, "not all was written: {:?}", publisher.stats());
    });
}

/// A server that says `OK` to an event has not told its id: the receipt and the figures must say the same.
#[test]
fn an_answer_that_is_no_id_is_not_counted_as_published() {
    on_one_thread(|| async {
        let publisher = Publisher::start(liar("+OK\r\n".to_owned(), true), PublisherConfig::default());
        let receipt = publisher.send(STREAM, &numbered(1)).unwrap();
        publisher.flush(Duration::from_secs(1)).await.unwrap_err();
        let stats = publisher.stats();
        assert_eq!((receipt.outcome(), stats.published), (None, 0), "{stats:?}");
        assert!(stats.last_error.unwrap().contains("is it redis?"));
    });
}

/// The task that writes is gone (aborted, or its runtime shut down): who waits for a receipt is told.
#[tokio::test]
async fn receipts_are_told_when_the_writer_is_gone() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let settings = RedisSettings::from_url(&url).unwrap();
    let (publisher, writer) = Publisher::new(settings, PublisherConfig::default());
    let writer = tokio::spawn(writer.run());
    let receipt = publisher.send(STREAM, &numbered(1)).unwrap();
    eventually("it tries", || async { publisher.stats().last_error }).await;
    writer.abort();
    let _ = writer.await;
    assert!(publisher.has_ended());
    let outcome = tokio::time::timeout(Duration::from_secs(2), receipt).await;
    outcome.expect("the receipt is told").unwrap_err();
}
