use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    extract::{Extension, Request as AxumRequest},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header};
use hyper::upgrade::OnUpgrade;
use synapse_test_support::eventually;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::*;

const LONG: Duration = Duration::from_mins(1);

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(router: Router, limits: Limits, grace: Duration) -> Self {
        let listener = listen("127.0.0.1", 0, "PORT").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(listener, router, limits, shutdown.clone(), grace));
        Self { address, shutdown, task }
    }

    async fn of(router: Router) -> Self {
        Self::start(router, Limits { head_timeout: LONG, ..Limits::default() }, LONG).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect_and_send(&self, request: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

/// What comes until the other side closes; a reset is as good as a close.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut text)).await.expect("the connection is closed");
    String::from_utf8(text).unwrap()
}

/// One response head.
async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(timeout(LONG, stream.read_u8()).await.expect("an answer").unwrap());
    }
    String::from_utf8(text).unwrap()
}

fn hello() -> Router {
    Router::new().route("/", get(async |Extension(peer): Extension<Peer>| peer.address.to_string()))
}

#[tokio::test]
async fn a_request_knows_its_peer() {
    let server = Running::of(hello()).await;
    let mut stream = server.connect_and_send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let own = stream.local_addr().unwrap().to_string();
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(&format!("\r\n\r\n{own}")),
        "{answer}"
    );
}

/// Gives the upgraded socket to whoever asks next.
fn upgrading(sockets: mpsc::Sender<(TcpStream, Vec<u8>, Option<Peer>)>, keep_peer: bool) -> Router {
    let upgrade = async move |mut request: AxumRequest| -> Response {
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().expect("an upgradable connection");
        let peer = request.extensions_mut().remove::<Peer>().filter(|_| keep_peer);
        tokio::spawn(async move {
            let parts = upgrade.await.unwrap().downcast::<TokioIo<TcpStream>>().expect("the socket itself");
            sockets.send((parts.io.into_inner(), parts.read_buf.to_vec(), peer)).await.unwrap();
        });
        (StatusCode::SWITCHING_PROTOCOLS, [(header::UPGRADE, "x"), (header::CONNECTION, "upgrade")])
            .into_response()
    };
    Router::new().route("/up", get(upgrade))
}

const UPGRADE: &str = "GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";

#[tokio::test]
async fn an_upgrade_hands_over_the_socket_itself_with_nodelay_and_what_was_read() {
    let (sender, mut sockets) = mpsc::channel(1);
    let server = Running::of(upgrading(sender, true)).await;
    let mut client = server.connect_and_send(&format!("{UPGRADE}early")).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    let (mut socket, early, _peer) = sockets.recv().await.unwrap();
    assert!(socket.nodelay().unwrap());
    assert_eq!(early, b"early");
    socket.write_all(b"pushed").await.unwrap();
    let mut pushed = [0; 6];
    client.read_exact(&mut pushed).await.unwrap();
    assert_eq!(&pushed, b"pushed");

    // The server's end does not wait for it, and does not close it.
    server.shutdown.cancel();
    timeout(LONG, server.task).await.unwrap().unwrap();
    client.write_all(b"still open").await.unwrap();
    let mut text = [0; 10];
    socket.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"still open");
}

/// Gives the connection of an answer that does not end to whoever asks next.
fn endless(connections: mpsc::Sender<(Seized, Peer)>) -> Router {
    let answer = async move |Extension(peer): Extension<Peer>| -> Response {
        let mut response = [(header::CONTENT_TYPE, "text/event-stream")].into_response();
        let handed_over = hand_over(&mut response);
        tokio::spawn(async move {
            let seized = handed_over.await.expect("the connection");
            connections.send((seized, peer)).await.unwrap();
        });
        response
    };
    Router::new().route("/endless", get(answer))
}

#[tokio::test]
async fn an_answer_that_does_not_end_gets_the_socket_itself_and_its_head_as_the_layers_left_it() {
    let (sender, mut connections) = mpsc::channel(1);
    let layer = axum::middleware::map_response(async |mut response: Response| {
        response.headers_mut().insert("x-layer", "seen".parse().unwrap());
        response
    });
    let router = endless(sender).merge(hello()).layer(layer);
    let server = Running::start(router, Limits { connections: 1, ..Limits::default() }, LONG).await;
    // The connection has been used before, as a browser does.
    let mut client = server.connect_and_send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let own = client.local_addr().unwrap().to_string();
    assert!(head(&mut client).await.contains("x-layer: seen"));
    client.read_exact(&mut vec![0; own.len()]).await.unwrap();
    client.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\nGET /late").await.unwrap();

    let (Seized { mut socket, head: begin }, peer) = connections.recv().await.unwrap();
    let begin = String::from_utf8(begin.to_vec()).unwrap();
    assert!(begin.starts_with("HTTP/1.1 200 OK\r\n") && begin.ends_with("\r\nconnection: close\r\n\r\n"));
    assert!(begin.contains("x-layer: seen\r\n") && !begin.contains("content-length"), "{begin}");
    socket.write_all(format!("{begin}data").as_bytes()).await.unwrap();
    assert_eq!(head(&mut client).await, begin);

    // It counts as long as its peer is kept, and the server's end does not wait for it.
    assert!(rest(&mut server.connect().await).await.starts_with("HTTP/1.1 503 "));
    server.shutdown.cancel();
    timeout(LONG, server.task).await.unwrap().unwrap();
    socket.write_all(b" goes on").await.unwrap();
    drop((socket, peer));
    assert_eq!(rest(&mut client).await, "data goes on");
}

#[tokio::test]
async fn a_connection_that_nobody_takes_any_more_is_closed() {
    let forgetful = async || -> Response {
        let mut response = StatusCode::OK.into_response();
        drop(hand_over(&mut response));
        response
    };
    let server = Running::of(Router::new().route("/", get(forgetful))).await;
    let mut client = server.connect_and_send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(rest(&mut client).await, "");
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_until_another_ends() {
    let (sender, mut sockets) = mpsc::channel(1);
    let limits = Limits { connections: 1, head_timeout: LONG, ..Limits::default() };
    let server = Running::start(upgrading(sender, true).merge(hello()), limits, LONG).await;
    let mut first = server.connect_and_send(UPGRADE).await;
    assert!(head(&mut first).await.starts_with("HTTP/1.1 101 "));
    let (_socket, _, peer) = sockets.recv().await.unwrap();

    // An upgraded connection counts as long as its peer is kept.
    let answer = rest(&mut server.connect().await).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "));
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["code"], "too_many_connections");

    drop(peer);
    eventually("room for another", async || {
        let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut stream = server.connect().await;
        let _ = stream.write_all(request.as_bytes()).await;
        rest(&mut stream).await.starts_with("HTTP/1.1 200 ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_request_head_is_let_go() {
    let limits = Limits { head_timeout: Duration::from_millis(50), ..Limits::default() };
    let server = Running::start(hello(), limits, LONG).await;
    for beginning in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = server.connect_and_send(beginning).await;
        assert!(!rest(&mut stream).await.contains("200 OK"), "{beginning:?}");
    }
    // So is one that stays idle after an answer.
    let mut stream = server.connect_and_send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_request_head_is_bounded_in_bytes_and_fields() {
    let server = Running::of(hello()).await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(17 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(65));
    for request in [long, many] {
        let mut stream = server.connect().await;
        // The server may have closed before all of it was sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut start = [0; 12];
        let _ = stream.read_exact(&mut start).await;
        assert_eq!(String::from_utf8_lossy(&start), "HTTP/1.1 431");
    }
}

#[tokio::test]
async fn a_request_body_that_stalls_is_given_up() {
    let limits = Limits { body_stall: Duration::from_millis(50), head_timeout: LONG, ..Limits::default() };
    let echo = Router::new().route("/", post(async |body: String| body));
    let server = Running::start(echo, limits, LONG).await;
    let mut stream =
        server.connect_and_send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
    let answer = head(&mut stream).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A route that answers when it is told to, and says when it was asked.
fn slow() -> (Router, mpsc::Receiver<oneshot::Sender<()>>) {
    let (asked, questions) = mpsc::channel(4);
    let answer = async move || {
        let (go, told) = oneshot::channel();
        asked.send(go).await.unwrap();
        let _ = told.await;
        "answered"
    };
    (Router::new().route("/", get(answer)), questions)
}

#[tokio::test]
async fn a_drain_finishes_what_was_asked_and_closes_what_is_idle() {
    let (router, mut questions) = slow();
    let server = Running::of(router).await;
    let mut idle = server.connect().await;
    let mut busy = server.connect_and_send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let go = questions.recv().await.unwrap();
    server.shutdown.cancel();
    assert_eq!(rest(&mut idle).await, "");
    eventually("the port closed", async || TcpStream::connect(server.address).await.err().map(drop)).await;
    assert!(!server.task.is_finished());
    go.send(()).unwrap();
    let answer = rest(&mut busy).await;
    assert!(answer.ends_with("answered") && answer.to_lowercase().contains("connection: close"), "{answer}");
    timeout(LONG, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_done_at_the_end_of_the_grace_is_cut() {
    let (router, mut questions) = slow();
    let grace = Duration::from_millis(100);
    let limits = Limits { head_timeout: LONG, ..Limits::default() };
    let server = Running::start(router, limits, grace).await;
    let mut busy = server.connect_and_send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let _never_sent = questions.recv().await.unwrap();
    let began = Instant::now();
    server.shutdown.cancel();
    timeout(LONG, server.task).await.unwrap().unwrap();
    assert!(began.elapsed() >= grace);
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn a_panic_of_one_request_leaves_the_others_alone() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let router = hello().route(
        "/bad",
        get(async move || -> &'static str {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("as a bug would")
        }),
    );
    let server = Running::of(router).await;
    let mut bad = server.connect_and_send("GET /bad HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(rest(&mut bad).await, "");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let mut good = server.connect_and_send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(rest(&mut good).await.starts_with("HTTP/1.1 200 OK"));
    server.shutdown.cancel();
    timeout(LONG, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_or_no_address_of_ours_is_named() {
    let holder = listen("localhost", 0, "PORT").await.unwrap();
    let address = holder.local_addr().unwrap();
    let message =
        listen(&address.ip().to_string(), address.port(), "ADMIN_PORT").await.unwrap_err().to_string();
    assert_eq!(
        message,
        format!("{address} is taken by another process; end that or set ADMIN_PORT to another port")
    );
    let message = listen("192.0.2.1", 0, "PORT").await.unwrap_err().to_string();
    assert!(message.starts_with("can't listen on 192.0.2.1: ") && message.contains("HOST"), "{message}");
    let message = listen("no-such-host.invalid", 0, "PORT").await.unwrap_err().to_string();
    assert!(message.starts_with("can't listen on no-such-host.invalid: "), "{message}");
    assert!(listen("[::1]", 0, "PORT").await.is_ok());
}
