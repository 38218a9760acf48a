use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{RedisServer, free_port};

mod link;
mod plan;
#[cfg(test)]
mod tests;

pub use plan::{Cut, Fault, Gate, Plan};

/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network that can be broken at will: a TCP proxy on loopback between a client and a [`RedisServer`].
///
/// Every connection passes through unless there is a [`Plan`] for it. All ends when the proxy is dropped, also the
/// connections that a plan keeps half open.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// The server's port.
    target: watch::Sender<u16>,
    /// For the connections to come, in their order.
    plans: parking_lot::Mutex<VecDeque<Plan>>,
    passed: watch::Sender<Passed>,
    is_open: watch::Sender<bool>,
    /// How often all connections were cut, and how the last time.
    cut_all: watch::Sender<(u64, Cut)>,
}

/// What a [`Proxy`] has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Whether it accepts connections.
    pub is_listening: bool,
    /// Connections accepted.
    pub connections: u64,
    /// Connections of which the client wrote an `XADD`.
    pub appending: u64,
    /// Bytes forwarded to the server, on each connection from its first `XADD` on.
    pub request_bytes: u64,
    /// Bytes forwarded to the client, on each connection from its first `XADD` on.
    pub reply_bytes: u64,
    /// Faults that have come about.
    pub faults: u64,
    /// Connections that were ended from here, of which the server has executed all it was sent.
    pub broken: u64,
}

impl Proxy {
    /// A proxy in front of `server`.
    ///
    /// # Panics
    ///
    /// If it can't listen.
    pub async fn to(server: &RedisServer) -> Self {
        let port = free_port();
        let shared = Arc::new(Shared {
            target: watch::Sender::new(server.port()),
            plans: parking_lot::Mutex::default(),
            passed: watch::Sender::default(),
            is_open: watch::Sender::new(true),
            cut_all: watch::Sender::new((0, Cut::Reset)),
        });
        let acceptor = tokio::spawn(accept(port, shared.clone()));
        let proxy = Self { port, shared, acceptor };
        proxy.until("the proxy listens", |passed| passed.is_listening).await;
        proxy
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Says what happens to the next connection that has no plan yet.
    pub fn plan(&self, plan: Plan) {
        self.shared.plans.lock().push_back(plan);
    }

    /// Lets connections pass that have no plan yet.
    pub fn forget_plans(&self) {
        self.shared.plans.lock().clear();
    }

    /// Lets later connections lead to another server.
    pub fn lead_to(&self, server: &RedisServer) {
        self.shared.target.send_replace(server.port());
    }

    /// Ends every connection there is, wherever it stands.
    pub fn cut_all(&self, cut: Cut) {
        self.shared.cut_all.send_modify(|(count, how)| (*count, *how) = (*count + 1, cut));
    }

    /// Refuses connections from now on.
    pub async fn refuse(&self) {
        self.shared.is_open.send_replace(false);
        self.until("the proxy has closed its port", |passed| !passed.is_listening).await;
    }

    /// Accepts connections again.
    pub async fn accept(&self) {
        self.shared.is_open.send_replace(true);
        self.until("the proxy listens", |passed| passed.is_listening).await;
    }

    /// What it has seen so far.
    pub fn passed(&self) -> Passed {
        *self.shared.passed.borrow()
    }

    /// Waits until `is_true` of what it has seen.
    ///
    /// # Panics
    ///
    /// If that takes longer than 20 seconds; the message names what was waited for.
    pub async fn until(&self, what: &str, mut is_true: impl FnMut(&Passed) -> bool) -> Passed {
        let mut passed = self.shared.passed.subscribe();
        let Ok(outcome) = timeout(PATIENCE, passed.wait_for(|passed| is_true(passed))).await else {
            panic!("waited {PATIENCE:?} for: {what}; so far {:?}", self.passed());
        };
        *outcome.expect("the proxy holds the sender")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Accepts connections while that is wanted, and carries them; all of them end with this future.
async fn accept(port: u16, shared: Arc<Shared>) {
    let mut is_open = shared.is_open.subscribe();
    let mut links = JoinSet::new();
    loop {
        let _ = is_open.wait_for(|open| *open).await;
        let listener = listen(port).await;
        shared.passed.send_modify(|passed| passed.is_listening = true);
        loop {
            let client = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = is_open.wait_for(|open| !*open) => break,
            };
            let Ok((client, _)) = client else { continue };
            shared.passed.send_modify(|passed| passed.connections += 1);
            let plan = shared.plans.lock().pop_front().unwrap_or_default();
            links.spawn(carry(client, plan, shared.clone()));
            while links.try_join_next().is_some() {}
        }
        drop(listener);
        shared.passed.send_modify(|passed| passed.is_listening = false);
    }
}

/// The port is ours, but may be held for a moment by a connection that is ending.
async fn listen(port: u16) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "port {port}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn carry(client: TcpStream, plan: Plan, shared: Arc<Shared>) {
    let target = *shared.target.borrow();
    let connected = TcpStream::connect(("127.0.0.1", target)).await;
    let Ok(server) = connected.and_then(without_delay) else {
        // As if nobody had been there.
        let _ = client.set_zero_linger();
        return;
    };
    if let Ok(client) = without_delay(client) {
        link::run(client, server, plan, &shared).await;
    }
}

fn without_delay(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}
