//! The change from polling to a socket: whatever is sent before, while and after it arrives once and in order.

use std::{ops::Range, thread, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
/// Nobody is slow here.
const NO_LIMIT: usize = 1 << 30;
/// More than a socket takes at once.
const LARGE: usize = 3 << 20;

/// What may happen to a link, in any order.
#[derive(Clone, Debug)]
enum Step {
    /// Frames are pushed, as one piece or as pieces of one buffer, and flushed if the link asks for it.
    Send {
        sizes: Vec<usize>,
        as_one: bool,
    },
    /// The same, but whoever is asked to flush does so later.
    Push(usize),
    Flush,
    /// A request takes up to so many frames.
    Take(usize),
    /// The client gets a socket, if it has none.
    Attach,
    /// The client reads, and the system takes more.
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 0..200_usize, 2 => 60_000..70_000_usize, 1 => Just(LARGE)];
    prop_oneof![
        4 => (prop::collection::vec(size.clone(), 1..4), any::<bool>())
            .prop_map(|(sizes, as_one)| Step::Send { sizes, as_one }),
        2 => size.prop_map(Step::Push),
        1 => Just(Step::Flush),
        3 => (1..5_usize).prop_map(Step::Take),
        1 => Just(Step::Attach),
        2 => Just(Step::Read),
    ]
}

/// A client's two ways of hearing.
struct Client {
    link: Arc<Link>,
    listener: TcpListener,
    socket: Option<TcpStream>,
    sent: Vec<u8>,
    heard: Vec<u8>,
    frames: u64,
    owes_flush: bool,
}

impl Client {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::polled(NO_LIMIT);
        Self { link, listener, socket: None, sent: vec![], heard: vec![], frames: 0, owes_flush: false }
    }

    /// The next frames, each told apart by its number, and where each of them is.
    fn next_frames(&mut self, sizes: &[usize]) -> (Bytes, Vec<Range<usize>>) {
        let (mut buffer, mut places) = (Vec::new(), Vec::new());
        for size in sizes {
            let begin = buffer.len();
            let content = format!("{:08}{}", self.frames, "x".repeat(*size));
            buffer.extend(frame::text(&content));
            self.frames += 1;
            places.push(begin..buffer.len());
        }
        self.sent.extend_from_slice(&buffer);
        (buffer.into(), places)
    }

    fn push(&mut self, piece: Piece) {
        self.owes_flush |= match self.link.push(piece) {
            Pushed::FlushIt => true,
            Pushed::Waits => false,
            Pushed::Refused => panic!("nothing is refused here"),
        };
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.owes_flush) {
            self.link.flush();
        }
    }

    fn take(&mut self, count: usize) {
        let taken = self.link.take(count);
        assert!(taken.frames().count() <= count);
        assert!(self.socket.is_none() || taken.is_empty(), "a request took what the socket was to carry");
        self.heard.extend(taken.frames().flatten());
    }

    async fn attach(&mut self) {
        if self.socket.is_none() {
            let client = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
            let (socket, _) = self.listener.accept().await.unwrap();
            self.link.attach(socket);
            self.socket = Some(client);
        }
    }

    fn read(&mut self) {
        if let Some(socket) = &self.socket {
            let mut buffer = vec![0; 1 << 20];
            if let Ok(length) = socket.try_read(&mut buffer) {
                self.heard.extend_from_slice(&buffer[..length]);
            }
            self.link.unblock();
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Send { sizes, as_one } => {
                let (buffer, places) = self.next_frames(&sizes);
                if as_one {
                    self.push(buffer.into());
                } else {
                    for Range { start, end } in places {
                        self.push(Piece::new(buffer.clone(), start, end));
                    }
                }
                self.flush();
            }
            Step::Push(size) => {
                let (buffer, _) = self.next_frames(&[size]);
                self.push(buffer.into());
            }
            Step::Flush => self.flush(),
            Step::Take(count) => self.take(count),
            Step::Attach => self.attach().await,
            Step::Read => self.read(),
        }
    }

    /// Until nothing waits any more.
    async fn hear_all(&mut self) {
        self.flush();
        while self.heard.len() < self.sent.len() {
            let before = self.heard.len();
            match &self.socket {
                // As the driver does, which waits until the system takes more.
                Some(socket) => tokio::select! {
                    ready = socket.readable() => ready.unwrap(),
                    ready = self.link.ready(Interest::WRITABLE), if self.link.is_blocked() => {
                        ready.unwrap();
                    }
                },
                None => self.take(2),
            }
            self.read();
            assert!(self.socket.is_some() || self.heard.len() > before, "something was lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives_once_and_in_order(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sent, heard) = runtime.block_on(async {
            let mut client = Client::new().await;
            for step in steps {
                client.step(step).await;
            }
            timeout(PATIENCE, client.hear_all()).await.expect("what was sent arrives");
            (client.sent, client.heard)
        });
        // Not by assert_eq, which would print megabytes.
        prop_assert!(sent == heard, "other bytes arrived than were sent");
    }
}

/// Threads that send, a client that polls and then changes, at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_others_send() {
    const SENDERS: usize = 3;
    const EACH: usize = 2_000;
    for round in 0..10 {
        let link = Link::polled(NO_LIMIT);
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let link = link.clone();
                thread::spawn(move || {
                    (0..EACH).for_each(|number| link.send(frame::text(&format!("{sender} {number}"))));
                })
            })
            .collect();
        let mut heard = Vec::new();
        let mut taken = 0;
        while taken < SENDERS * EACH * round / 12 {
            let some = link.take(16);
            taken += some.frames().count();
            heard.extend(some.frames().flatten());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let reader = tokio::spawn(async move {
            let (mut read, mut write) = client.into_split();
            read.read_to_end(&mut heard).await.unwrap();
            write.shutdown().await.unwrap();
            heard
        });
        link.attach(socket);
        assert!(link.take(16).is_empty());
        for sender in senders {
            sender.join().unwrap();
        }
        while link.waiting_bytes() > 0 {
            link.ready(Interest::WRITABLE).await.unwrap();
            link.unblock();
        }
        link.shut_down();
        assert_whole(&reader.await.unwrap(), SENDERS, EACH);
    }
}

/// Asserts that each sender's frames are all there, each once, in its order.
fn assert_whole(mut heard: &[u8], senders: usize, each: usize) {
    let mut next = vec![0; senders];
    while !heard.is_empty() {
        let (first, rest) = heard.split_at(frame::length_of(heard));
        let text = std::str::from_utf8(frame::opened(first).unwrap().1).unwrap();
        let (sender, number) = text.split_once(' ').unwrap();
        let sender: usize = sender.parse().unwrap();
        assert_eq!(number.parse(), Ok(next[sender]), "of sender {sender}");
        next[sender] += 1;
        heard = rest;
    }
    assert!(next.iter().all(|count| *count == each), "{next:?} of {each} each");
}
