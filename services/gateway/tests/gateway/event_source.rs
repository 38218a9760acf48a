//! A client of `/events` that reads what comes as the HTML standard has it, and mends nothing.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::support::label;

const PATIENCE: Duration = Duration::from_secs(20);

/// One connection, after the head of the answer.
pub(crate) struct EventSource {
    stream: BufReader<TcpStream>,
    pub(crate) status: u16,
    pub(crate) head: String,
    /// The last `id`.
    pub(crate) last_event_id: String,
    /// The last `retry`, in milliseconds.
    pub(crate) retry: Option<u64>,
}

/// What a block says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) is_comment: bool,
}

impl EventSource {
    /// Asks with these header lines, each with its line end, and reads the head of whatever comes.
    pub(crate) async fn ask(port: u16, method: &str, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("{method} /events{query} HTTP/1.1\r\nHost: localhost:{port}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = timeout(PATIENCE, stream.read_line(&mut head)).await.expect("an answer").unwrap();
            assert!(read > 0, "closed within the head: {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { stream, status, head: head.to_ascii_lowercase(), last_event_id: String::new(), retry: None }
    }

    /// Connects and is welcomed; what `subscribed` says besides.
    pub(crate) async fn connect(port: u16, query: &str, headers: &str) -> (Self, Value) {
        let mut source = Self::ask(port, "GET", query, headers).await;
        assert_eq!(source.status, 200, "{}", source.head);
        assert!(source.head.contains("\r\ncontent-type: text/event-stream\r\n"), "{}", source.head);
        assert_eq!(source.event().await.0, "welcome");
        let (name, subscribed) = source.event().await;
        assert_eq!(name, "subscribed", "{subscribed}");
        (source, subscribed)
    }

    /// The next block; `None` when the connection has ended, whatever is left of a block.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        let mut block = Block::default();
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.stream.read_line(&mut line))
                .await
                .expect("the gateway says something");
            if !matches!(read, Ok(1..)) || !line.ends_with('\n') {
                return None;
            }
            let line = line.trim_end_matches('\n');
            match line.split_once(':').unwrap_or((line, "")) {
                ("", "") if line.is_empty() => return Some(block),
                ("", _) => block.is_comment = true,
                ("event", value) => value.trim_start().clone_into(&mut block.event),
                ("id", value) => value.trim_start().clone_into(&mut self.last_event_id),
                ("data", value) => block.data.push_str(value.trim_start()),
                ("retry", value) => self.retry = Some(value.trim_start().parse().unwrap()),
                other => panic!("no field of the standard: {other:?}"),
            }
        }
    }

    /// The next event: its name and data.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        self.next_event().await.expect("an event, not the end")
    }

    /// The next event, or the end.
    pub(crate) async fn next_event(&mut self) -> Option<(String, Value)> {
        loop {
            let block = self.block().await?;
            if !block.data.is_empty() {
                return Some((block.event, serde_json::from_str(&block.data).unwrap()));
            }
        }
    }

    /// The next event of a stream.
    pub(crate) async fn entry(&mut self) -> Value {
        loop {
            let (name, data) = self.event().await;
            if name != "position" {
                assert!(name.ends_with("-event"), "{name}: {data}");
                return data;
            }
        }
    }

    /// The names of the events' models, up to and without the one of this name.
    pub(crate) async fn models_until(&mut self, end: &str) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let name = label(&self.entry().await);
            if name == end {
                return names;
            }
            names.push(name);
        }
    }

    /// The last words, `closing`, behind which nothing comes.
    pub(crate) async fn closing(&mut self) -> Value {
        // Comments come without end.
        let closing = async {
            loop {
                let (name, data) = self.event().await;
                if name == "closing" {
                    assert_eq!(self.block().await, None, "something came behind the last words");
                    return data;
                }
            }
        };
        timeout(PATIENCE, closing).await.expect("the last words")
    }

    /// The code and message of an error, which is the whole answer.
    pub(crate) async fn error(mut self) -> (u16, String, String) {
        let length =
            self.head.split("content-length: ").nth(1).expect("a length").split("\r\n").next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        timeout(PATIENCE, self.stream.read_exact(&mut body)).await.expect("the body").unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
        (self.status, text("code"), text("message"))
    }

    /// Sends what no such client should.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).await.is_ok()
    }
}

/// The status and code of a refusal.
pub(crate) async fn refused(port: u16, query: &str, headers: &str) -> (u16, String) {
    let (status, code, _) = EventSource::ask(port, "GET", query, headers).await.error().await;
    (status, code)
}
