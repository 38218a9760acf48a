//! A client's outbox, and the socket that empties it.
//!
//! Whoever has something for a client calls [`Link::push`], once or many times, and then
//! [`Link::flush`], which writes all that waits by one vectored write without waiting. What the
//! system does not take is left to the connection's own task, which waits until it does.
//!
//! A client that polls has no socket of its own: what waits for it is [taken](Link::take) by its next request. It may
//! get a socket later, which then has all that waits: [`Link::attach`].

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    io::{Interest, Ready},
    net::TcpStream,
    sync::{Notify, futures::Notified},
};

use crate::{
    close::CloseReason,
    outbox::{MAX_SLICES, Outbox, Piece},
};

/// Bytes read from the socket at a time, on the stack of whoever reads: idle connections hold no buffer.
const READ_BYTES: usize = 8 << 10;

/// One client's connection. Shared by its task, the hub and everyone who sends.
#[derive(Debug)]
pub struct Link {
    /// None yet while the client polls.
    socket: OnceLock<TcpStream>,
    state: Mutex<State>,
    wake: Notify,
    drained: Notify,
    limit: usize,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they hold in any combination")]
struct State {
    outbox: Outbox,
    /// What a writer has taken out and not yet written.
    in_flight: usize,
    writing: bool,
    /// The system takes no more for now; the connection's task waits for it.
    blocked: bool,
    /// Somebody has said that they will flush.
    claimed: bool,
    closing: Option<CloseReason>,
    broken: bool,
}

/// What came of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The caller is to call [`Link::flush`] soon.
    FlushIt,
    /// Somebody else will write it.
    Waits,
    /// The connection is closing, maybe because of this very push; nothing was taken.
    Refused,
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes were handed over; there may be more.
    Some,
    /// Nothing more for now.
    Nothing,
    /// The client has closed its side or is gone.
    End,
}

impl Link {
    /// Takes over a socket. No more than `limit` bytes may wait for it, but for a single larger frame.
    pub fn new(socket: TcpStream, limit: usize) -> Arc<Self> {
        Self::over(OnceLock::from(socket), limit)
    }

    /// One for a client that polls.
    pub fn polled(limit: usize) -> Arc<Self> {
        Self::over(OnceLock::new(), limit)
    }

    fn over(socket: OnceLock<TcpStream>, limit: usize) -> Arc<Self> {
        // Without a socket nothing is written, as if its system took no more.
        let state = Mutex::new(State { blocked: socket.get().is_none(), ..State::default() });
        Arc::new(Self { socket, state, wake: Notify::new(), drained: Notify::new(), limit })
    }

    /// Whether the client polls: it has no socket.
    pub fn is_polled(&self) -> bool {
        self.socket.get().is_none()
    }

    /// A client that takes nothing of what is sent for so long is gone, whether or not it was heard to leave; what is
    /// sent must be often enough to find out.
    pub fn expect_taken_within(&self, patience: Duration) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(socket) = self.socket.get() {
            // Elsewhere, and where it can't be set, the system's own patience counts, some minutes.
            let _ = SockRef::from(socket).set_tcp_user_timeout(Some(patience));
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = patience;
    }

    /// Adds frames to what waits. When too much waits, the connection is closed as
    /// [`CloseReason::SlowClient`]: nothing is left out in silence.
    pub fn push(&self, mut piece: Piece) -> Pushed {
        let mut state = self.state.lock();
        if state.closing.is_some() || state.broken {
            return Pushed::Refused;
        }
        let waiting = state.outbox.cost() + state.in_flight;
        if waiting > 0 && waiting + piece.len() > self.limit {
            state.closing = Some(CloseReason::SlowClient);
            drop(state);
            self.wake.notify_one();
            return Pushed::Refused;
        }
        if state.blocked {
            // It will wait for long: a few bytes must not hold the whole batch in memory.
            piece.detach();
        }
        state.outbox.push(piece);
        if state.blocked || state.writing || state.claimed {
            drop(state);
            self.tell_poll();
            return Pushed::Waits;
        }
        state.claimed = true;
        Pushed::FlushIt
    }

    /// Adds frames and writes at once.
    pub fn send(&self, piece: impl Into<Piece>) {
        if self.push(piece.into()) == Pushed::FlushIt {
            self.flush();
        }
    }

    /// Writes what waits, as far as the system takes it now.
    pub fn flush(&self) {
        let mut state = self.state.lock();
        state.claimed = false;
        if state.writing || state.blocked || state.broken {
            return;
        }
        state.writing = true;
        while !state.outbox.is_empty() {
            let mut taken = std::mem::take(&mut state.outbox);
            state.in_flight = taken.cost();
            drop(state);
            let written = match self.socket.get() {
                Some(socket) => write_all(socket, &mut taken),
                None => Err(io::ErrorKind::WouldBlock.into()),
            };
            state = self.state.lock();
            state.in_flight = 0;
            match written {
                Ok(()) => {
                    taken.rest();
                    if state.outbox.is_empty() {
                        state.outbox = taken;
                    }
                }
                Err(error) => {
                    state.broken = error.kind() != io::ErrorKind::WouldBlock;
                    state.blocked = !state.broken;
                    taken.detach();
                    state.outbox.put_back(taken);
                    self.wake.notify_one();
                    break;
                }
            }
        }
        state.writing = false;
        if state.outbox.is_empty() {
            drop(state);
            self.drained.notify_waiters();
        }
    }

    /// Waits until nothing waits to be written; for ever if the client is gone.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.waiting_bytes() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Asks the connection's task to say goodbye and leave; the first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.state.lock().closing.get_or_insert(reason);
        self.wake.notify_one();
    }

    /// Takes what waits for a client that polls, up to `count` frames; nothing once it has a socket.
    pub(crate) fn take(&self, count: usize) -> Outbox {
        let mut state = self.state.lock();
        if !self.is_polled() {
            return Outbox::default();
        }
        let taken = state.outbox.take_frames(count);
        drop(state);
        if !taken.is_empty() {
            self.drained.notify_waiters();
        }
        taken
    }

    /// The client that polled has a socket from now on; all that waits goes there.
    pub(crate) fn attach(&self, socket: TcpStream) {
        let state = self.state.lock();
        let attached = self.socket.set(socket);
        debug_assert!(attached.is_ok(), "a link gets one socket");
        drop(state);
        self.unblock();
        self.drained.notify_waiters();
    }

    /// The client is gone: nothing that waits will be read.
    pub(crate) fn break_off(&self) {
        self.state.lock().broken = true;
        self.wake.notify_one();
    }

    /// Wakes the request of a client that polls.
    pub(crate) fn tell_poll(&self) {
        if self.is_polled() {
            self.drained.notify_waiters();
        }
    }

    /// Comes back when something came to wait, or no longer does: enable it before looking.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.drained.notified()
    }

    /// Has the connection's task look at its session again: what it waits for has changed.
    pub fn nudge(&self) {
        self.wake.notify_one();
    }

    /// How much may wait for it, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Why the connection is to end, if it is.
    pub fn closing(&self) -> Option<CloseReason> {
        self.state.lock().closing
    }

    /// Bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        let state = self.state.lock();
        state.outbox.bytes() + state.in_flight
    }

    // === for the connection's own task ===

    /// Whether writing failed for good.
    pub(crate) fn is_broken(&self) -> bool {
        self.state.lock().broken
    }

    /// Comes back when there is something to look at: a close, or a socket that takes no more.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.wake.notified()
    }

    /// Whether the socket takes no more for now.
    pub(crate) fn is_blocked(&self) -> bool {
        self.state.lock().blocked
    }

    /// What the task is to wait for.
    pub(crate) fn interest(&self, reads: bool) -> Interest {
        match (reads, self.state.lock().blocked) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (_, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
        }
    }

    /// Waits until the socket is ready; for ever while there is none.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self.socket.get() {
            Some(socket) => socket.ready(interest).await,
            None => std::future::pending().await,
        }
    }

    /// The socket takes more.
    pub(crate) fn unblock(&self) {
        self.state.lock().blocked = false;
        self.flush();
    }

    /// Reads what is there, once.
    pub(crate) fn read(&self, mut take: impl FnMut(&[u8])) -> Read {
        let mut buffer = [0; READ_BYTES];
        let Some(socket) = self.socket.get() else { return Read::Nothing };
        match socket.try_read(&mut buffer) {
            Ok(0) => Read::End,
            Ok(length) => {
                take(&buffer[..length]);
                Read::Some
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Read::Some,
            Err(_) => Read::End,
        }
    }

    /// Forgets what waits, but for a frame of which the client has a part.
    pub(crate) fn keep_started_frame(&self) {
        self.state.lock().outbox.keep_started_frame();
    }

    /// Adds the last frames, past all bounds, although the connection is closing.
    pub(crate) fn push_last(&self, frame: Vec<u8>) {
        self.state.lock().outbox.push(frame.into());
        self.flush();
        self.tell_poll();
    }

    /// Tells the client that nothing more will come.
    pub(crate) fn shut_down(&self) {
        // A socket that the client has reset already is shut down enough.
        let _ = self.socket.get().map(|socket| SockRef::from(socket).shutdown(Shutdown::Write));
    }
}

/// Writes all of it, or stops at the first error with what is left.
fn write_all(socket: &TcpStream, outbox: &mut Outbox) -> io::Result<()> {
    while !outbox.is_empty() {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = outbox.slices(&mut slices);
        let written = match &slices[..count] {
            [only] => socket.try_write(only),
            several => socket.try_write_vectored(several),
        };
        match written {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => outbox.advance(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
