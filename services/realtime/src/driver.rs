//! The one task of a connection: reads, keeps time, and says goodbye.
//!
//! What a connection means is up to its [`Session`]; the driver knows frames and time. Nothing here
//! holds a buffer while a connection is idle.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    io::Interest,
    net::TcpStream,
    task::consume_budget,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    close::{CloseReason, NORMAL_CLOSURE},
    link::{Link, Read},
    websocket::{
        decoder::Message,
        frame::{self, OpCode},
    },
};

mod intake;

pub use intake::Intake;

/// Reads in a row before others get their turn.
const READS_IN_A_ROW: usize = 8;
/// How long the last frames may take to go out, and the client to answer them.
const GOODBYE: Duration = Duration::from_secs(2);
/// How long they may take to reach a client that reads slowly; what else waited for it is gone already.
const SLOW_GOODBYE: Duration = Duration::from_secs(15);

/// Something that takes a while, on behalf of a session.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a session wants done.
pub enum Next<T> {
    /// Go on reading.
    Read,
    /// Do this and tell [`Session::finished`] before the next message is read.
    Await(Work<T>),
    /// Stop what is being done besides, and do this as [`Next::Await`] does.
    Instead(Work<T>),
    /// Do this besides, in place of what was being done besides.
    Meanwhile(Work<T>),
    /// The client has said that it leaves.
    Leave,
}

/// What a connection means: a protocol over messages.
pub trait Session: Send {
    /// What comes of the session's [`Work`].
    type Outcome: Send;

    /// The connection is there; what is pushed now goes first.
    fn opened(&mut self) -> Result<Next<Self::Outcome>, CloseReason>;

    /// A text message has come.
    fn text(&mut self, message: &str) -> Result<Next<Self::Outcome>, CloseReason>;

    /// A binary message has come.
    fn binary(&mut self, message: &[u8]) -> Result<Next<Self::Outcome>, CloseReason>;

    /// A WebSocket pong has come.
    fn pong(&mut self) {}

    /// Work is done.
    fn finished(&mut self, outcome: Self::Outcome) -> Result<Next<Self::Outcome>, CloseReason>;

    /// When [`Session::tick`] is to be called.
    fn deadline(&self) -> Instant;

    /// The deadline has come.
    fn tick(&mut self, now: Instant) -> Result<(), CloseReason>;

    /// The server ends the connection: frames to send before the close frame.
    fn farewell(&mut self, reason: CloseReason) -> Vec<u8>;

    /// The close frame: that of WebSocket, if the protocol has no other way.
    fn close_frame(&self, reason: CloseReason) -> Vec<u8> {
        frame::close(reason.code(), reason.name())
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client left, saying so.
    ClientClosed,
    /// The client was gone.
    ClientGone,
    /// The server ended it.
    ServerClosed(CloseReason),
}

/// Drives a connection to its end.
pub async fn drive<S: Session>(link: &Arc<Link>, session: &mut S, intake: &mut Intake) -> Ending {
    let ending = match session.opened() {
        Ok(first) => serve(link, session, intake, first).await,
        Err(reason) => Ending::ServerClosed(reason),
    };
    match ending {
        Ending::ServerClosed(reason) => {
            link.close(reason);
            if !reason.sends_the_rest() {
                link.keep_started_frame();
            }
            let mut last = session.farewell(reason);
            last.extend(session.close_frame(reason));
            let patience = if reason == CloseReason::SlowClient { SLOW_GOODBYE } else { GOODBYE };
            say_goodbye(link, last, intake.patience(reason).unwrap_or(patience)).await;
        }
        Ending::ClientClosed => {
            intake.answer();
            link.close(CloseReason::Draining);
            link.keep_started_frame();
            say_goodbye(link, frame::close(NORMAL_CLOSURE, ""), GOODBYE).await;
        }
        Ending::ClientGone => link.close(CloseReason::Draining),
    }
    ending
}

async fn serve<S: Session>(
    link: &Arc<Link>,
    session: &mut S,
    intake: &mut Intake,
    first: Next<S::Outcome>,
) -> Ending {
    let mut awaited: Option<Work<S::Outcome>> = None;
    let mut meanwhile: Option<Work<S::Outcome>> = None;
    let timer = sleep_until(session.deadline());
    tokio::pin!(timer);
    let mut unread = true;
    let mut next = first;
    loop {
        // A socket that is always readable, or work that is always done, would hold a thread for ever.
        consume_budget().await;
        match std::mem::replace(&mut next, Next::Read) {
            Next::Read => {}
            Next::Await(work) => awaited = Some(work),
            Next::Instead(work) => {
                meanwhile = None;
                awaited = Some(work);
            }
            Next::Meanwhile(work) => meanwhile = Some(work),
            Next::Leave => return Ending::ClientClosed,
        }
        if session.deadline() != timer.deadline() {
            timer.as_mut().reset(session.deadline());
        }
        if let Some(reason) = link.closing() {
            return Ending::ServerClosed(reason);
        }
        if link.is_broken() {
            return Ending::ClientGone;
        }
        if unread && awaited.is_none() {
            match read_on(session, intake) {
                Ok(Step::Done) => unread = false,
                Ok(Step::Frame(frame)) => link.send(frame),
                Ok(Step::Next(wanted)) => next = wanted,
                Ok(Step::Closed) => return Ending::ClientClosed,
                Err(reason) => return Ending::ServerClosed(reason),
            }
        } else {
            let listens = awaited.is_none();
            let happened = tokio::select! {
                biased;
                () = link.woken() => Ok(Next::Read),
                // Before the socket: one that always has more to say must not outlast its time.
                () = &mut timer => session.tick(Instant::now()).map(|()| Next::Read),
                ready = link.ready(link.interest(listens)), if listens || link.is_blocked() => match ready {
                    Ok(state) => {
                        if state.is_writable() {
                            link.unblock();
                        }
                        if listens && (state.is_readable() || state.is_read_closed()) {
                            if !read_some(link, intake) {
                                return Ending::ClientGone;
                            }
                            unread = true;
                        }
                        Ok(Next::Read)
                    }
                    Err(_) => return Ending::ClientGone,
                },
                delivery = intake.delivered(), if listens => {
                    intake.take(delivery, link);
                    unread = true;
                    Ok(Next::Read)
                }
                outcome = running(&mut awaited) => session.finished(outcome),
                outcome = running(&mut meanwhile) => session.finished(outcome),
            };
            match happened {
                Ok(wanted) => next = wanted,
                Err(reason) => return Ending::ServerClosed(reason),
            }
        }
    }
}

/// What a message asked of the driver.
enum Step<T> {
    Done,
    Frame(Vec<u8>),
    Next(Next<T>),
    Closed,
}

fn read_on<S: Session>(session: &mut S, intake: &mut Intake) -> Result<Step<S::Outcome>, CloseReason> {
    let message = intake.next_message()?;
    if message.is_some() && !intake.may_say_more() {
        return Err(CloseReason::TooManyMessages);
    }
    match message {
        None => Ok(Step::Done),
        Some(Message::Text(text)) => session.text(&text).map(Step::Next),
        Some(Message::Binary(bytes)) => session.binary(&bytes).map(Step::Next),
        Some(Message::Ping(payload)) => {
            let mut pong = Vec::new();
            frame::push_frame(&mut pong, OpCode::Pong, &payload);
            Ok(Step::Frame(pong))
        }
        Some(Message::Pong) => {
            session.pong();
            Ok(Step::Next(Next::Read))
        }
        Some(Message::Close(_)) => Ok(Step::Closed),
    }
}

/// Whether the client is still there.
fn read_some(link: &Link, intake: &mut Intake) -> bool {
    for _ in 0..READS_IN_A_ROW {
        match link.read(|bytes| intake.extend(bytes)) {
            Read::Some => {}
            Read::Nothing => return true,
            Read::End => return false,
        }
    }
    true
}

/// Waits for work, which is then no longer there; for ever if there is none.
async fn running<T>(work: &mut Option<Work<T>>) -> T {
    let outcome = match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    };
    *work = None;
    outcome
}

/// Closes a socket that belongs to no session.
pub(crate) async fn turn_away(socket: TcpStream) {
    let reason = CloseReason::ProtocolError;
    say_goodbye(&Link::new(socket, 0), frame::close(reason.code(), reason.name()), GOODBYE).await;
}

/// Sends the last frames and waits, not for long, until the client has closed its side too: a
/// socket closed before that may take the last frames with it.
async fn say_goodbye(link: &Link, last: Vec<u8>, patience: Duration) {
    link.push_last(last);
    let sent = timeout(patience, async {
        while link.waiting_bytes() > 0 && !link.is_broken() {
            if link.is_polled() {
                link.drained().await;
            } else if link.ready(Interest::WRITABLE).await.is_err() {
                return;
            } else {
                link.unblock();
            }
        }
    });
    if sent.await.is_err() || link.is_polled() {
        return;
    }
    link.shut_down();
    let answered = timeout(GOODBYE, async {
        while link.ready(Interest::READABLE).await.is_ok() && link.read(|_| {}) != Read::End {}
    });
    // A client that does not answer is left without one.
    let _ = answered.await;
}
