//! What is to happen to one connection.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::watch;

/// What is to happen to one connection; nothing by default.
///
/// Bytes are counted from the start of the first `XADD` on, what the connection begins with passes.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) requests: Faults,
    pub(super) replies: Faults,
    pub(super) counts_all: bool,
}

/// What happens in one direction, in the order of the bytes where it does.
pub(super) type Faults = VecDeque<(u64, Fault)>;

/// Something that happens to a connection at a certain byte.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Both ends are told that the connection is over. The server executes what it was sent.
    Cut(Cut),
    /// Nothing more is read or forwarded in this direction; the sockets stay open.
    Swallow,
    /// Like [`Fault::Swallow`], in both directions.
    SwallowBoth,
    /// Nothing more is forwarded in this direction until the gate is opened.
    Hold(Gate),
    /// For requests: the rest waits in front of the gate, with the connection to the server open, while that to the
    /// client is cut as soon as `until` bytes have come. Once the gate is opened the server is sent the rest, and then
    /// the end.
    Strand {
        /// Where the client's connection is cut.
        until: u64,
        /// What the server must be told only later.
        gate: Gate,
    },
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// With a reset.
    Reset,
    /// With an orderly end.
    Fin,
}

/// Closed until it is opened.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    is_open: Arc<watch::Sender<bool>>,
}

impl Plan {
    /// Nothing is to happen.
    pub fn new() -> Self {
        Self::default()
    }

    /// After exactly `at` bytes were forwarded to the server; several in the order of their bytes.
    #[must_use]
    pub fn requests(mut self, at: u64, fault: Fault) -> Self {
        self.requests.push_back((at, fault));
        self
    }

    /// After exactly `at` bytes were forwarded to the client; several in the order of their bytes.
    #[must_use]
    pub fn replies(mut self, at: u64, fault: Fault) -> Self {
        self.replies.push_back((at, fault));
        self
    }

    /// Counts bytes from the connection's first one.
    #[must_use]
    pub fn from_the_start(mut self) -> Self {
        self.counts_all = true;
        self
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets through what waits, and all that comes.
    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    pub(super) async fn opened(&self) {
        let mut is_open = self.is_open.subscribe();
        is_open.wait_for(|open| *open).await.expect("this gate holds the sender");
    }
}
