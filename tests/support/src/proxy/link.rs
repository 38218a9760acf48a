//! One connection through the proxy.

use std::{
    convert::Infallible,
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use super::{
    Shared,
    plan::{Cut, Fault, Faults, Gate, Plan},
};

/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What every request to append has in it.
const APPEND: &[u8] = b"$4\r\nXADD\r\n";

/// Why a connection is over.
enum End {
    /// One side has closed it, or it broke by itself.
    Gone,
    Cut(Cut),
    /// Nobody is told.
    Swallowed,
    /// The client is to be cut, and the server to be sent this once the gate opens.
    Stranded(Vec<u8>, Gate),
}

/// One direction of a connection.
struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    is_requests: bool,
    faults: Faults,
    /// Bytes that were forwarded and count.
    counted: u64,
    /// Whether bytes count by now, in both directions.
    counts: &'a AtomicBool,
    shared: &'a Shared,
}

/// Carries a connection until it is over; if a fault ended it, until the server has executed what it was sent.
pub(super) async fn run(mut client: TcpStream, mut server: TcpStream, plan: Plan, shared: &Shared) {
    let counts = AtomicBool::new(plan.counts_all);
    let mut cuts = shared.cut_all.subscribe();
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pump = |from, to, faults, is_requests| Pump {
            from,
            to,
            is_requests,
            faults,
            counted: 0,
            counts: &counts,
            shared,
        };
        let requests = pump(from_client, to_server, plan.requests, true);
        let replies = pump(from_server, to_client, plan.replies, false);
        tokio::select! {
            end = requests.run() => end,
            end = replies.run() => end,
            _ = cuts.changed() => End::Cut(cuts.borrow().1),
        }
    };
    match end {
        End::Gone => {
            drop(client);
            let _ = server.shutdown().await;
            return;
        }
        End::Cut(Cut::Reset) => {
            let _ = client.set_zero_linger();
        }
        End::Cut(Cut::Fin) => {
            let _ = client.shutdown().await;
            tokio::join!(finish(&mut server, shared), drain(&mut client));
            return;
        }
        End::Swallowed => match std::future::pending::<Infallible>().await {},
        End::Stranded(rest, gate) => {
            let _ = client.set_zero_linger();
            drop(client);
            shared.passed.send_modify(|passed| passed.faults += 1);
            gate.opened().await;
            let _ = server.write_all(&rest).await;
            finish(&mut server, shared).await;
            return;
        }
    }
    drop(client);
    finish(&mut server, shared).await;
}

/// Tells the server the end, and waits until it has executed what came before.
async fn finish(server: &mut TcpStream, shared: &Shared) {
    let _ = server.shutdown().await;
    drain(server).await;
    shared.passed.send_modify(|passed| passed.broken += 1);
}

async fn drain(stream: &mut TcpStream) {
    let mut rest = Vec::with_capacity(CHUNK_BYTES);
    while stream.read_buf(&mut rest).await.is_ok_and(|count| count > 0) {
        rest.clear();
    }
}

// === impl Pump ===

impl Pump<'_> {
    async fn run(mut self) -> End {
        match self.forward().await {
            Ok(end) => end,
            Err(_) => End::Gone,
        }
    }

    async fn forward(&mut self) -> io::Result<End> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        if self.counts.load(Ordering::Relaxed)
            && let Some(end) = self.forward_counting(&[]).await?
        {
            return Ok(end);
        }
        loop {
            chunk.clear();
            if self.from.read_buf(&mut chunk).await? == 0 {
                return Ok(End::Gone);
            }
            let (greeting, counting) = chunk.split_at(self.uncounted(&chunk));
            self.to.write_all(greeting).await?;
            if !counting.is_empty()
                && let Some(end) = self.forward_counting(counting).await?
            {
                return Ok(end);
            }
        }
    }

    /// How many bytes come before those that count.
    fn uncounted(&self, chunk: &[u8]) -> usize {
        if self.counts.load(Ordering::Relaxed) {
            return 0;
        }
        let append = chunk.windows(APPEND.len()).position(|window| window == APPEND);
        let (true, Some(append)) = (self.is_requests, append) else { return chunk.len() };
        self.counts.store(true, Ordering::Relaxed);
        self.shared.passed.send_modify(|passed| passed.appending += 1);
        chunk[..append].iter().rposition(|byte| *byte == b'*').unwrap_or(append)
    }

    /// Forwards up to where something is to happen, and then the rest if the connection goes on.
    async fn forward_counting(&mut self, mut bytes: &[u8]) -> io::Result<Option<End>> {
        while let Some((at, _)) = self.faults.front() {
            let left = usize::try_from(at - self.counted).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.write(now).await?;
            if now.len() < left {
                return Ok(None);
            }
            if let Some(end) = self.fail(later).await? {
                return Ok(Some(end));
            }
            bytes = later;
        }
        self.write(bytes).await?;
        Ok(None)
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes).await?;
        self.counted += bytes.len() as u64;
        self.shared.passed.send_modify(|passed| {
            let sum = if self.is_requests { &mut passed.request_bytes } else { &mut passed.reply_bytes };
            *sum += bytes.len() as u64;
        });
        Ok(())
    }

    /// What was planned comes about; `rest` was read and is not forwarded. `None` if the connection goes on.
    async fn fail(&mut self, rest: &[u8]) -> io::Result<Option<End>> {
        let Some((at, fault)) = self.faults.pop_front() else { return Ok(None) };
        if let Fault::Strand { until, gate } = fault {
            let mut stranded = rest.to_vec();
            while at + (stranded.len() as u64) < until {
                if self.from.read_buf(&mut stranded).await? == 0 {
                    break;
                }
            }
            return Ok(Some(End::Stranded(stranded, gate)));
        }
        self.shared.passed.send_modify(|passed| passed.faults += 1);
        Ok(match fault {
            Fault::Cut(cut) => Some(End::Cut(cut)),
            Fault::SwallowBoth => Some(End::Swallowed),
            Fault::Swallow => match std::future::pending::<Infallible>().await {},
            Fault::Hold(gate) => {
                gate.opened().await;
                None
            }
            Fault::Strand { .. } => unreachable!("seen to above"),
        })
    }
}
