//! A Socket.IO client that counts what it gets.

use std::{
    error::Error,
    io,
    rc::Rc,
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::time::timeout;

use crate::{
    append::{SendTimes, number_in},
    report::Received,
    wire::Wire,
};

/// What a client waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) per_client: u64,
    pub(crate) patience: Duration,
}

/// A Socket.IO client on a WebSocket of its own.
pub(crate) struct Client {
    wire: Wire,
}

impl Client {
    /// Connects, joins the default namespace, and becomes this user if there is one.
    pub(crate) async fn connect(address: &str, user: Option<&str>) -> Result<Self, Box<dyn Error>> {
        let mut wire = Wire::open(address, "/socket.io/?EIO=4&transport=websocket").await?;
        let has =
            |part: &'static str| move |message: &[u8]| memmem::find(message, part.as_bytes()).map(|_| ());
        wire.send("40").await?;
        wire.wait_for("connection_confirmed", has("connection_confirmed")).await?;
        if let Some(user) = user {
            wire.send(&format!("420[\"join_user_room\",\"{user}\"]")).await?;
            wire.wait_for("an acknowledgement", has("430[")).await?;
        }
        Ok(Self { wire })
    }

    /// Has `look` see the number of each event that comes, for as long as the server is there.
    pub(crate) async fn numbers(&mut self, mut look: impl FnMut(u64)) -> io::Result<()> {
        let read = self.wire.read::<()>(|message| {
            if message.starts_with(b"42") {
                look(number_in(message));
            }
            None
        });
        read.await.map(|_| ())
    }

    /// Counts events until all have come, or nothing comes any more.
    pub(crate) async fn receive(mut self, expected: Expected, sent: Rc<SendTimes>) -> io::Result<Received> {
        let mut received = Received::default();
        let mut next = 0;
        while received.events < expected.per_client {
            let look = |number| {
                received.events += 1;
                received.doubled += u64::from(number < next);
                next = number + 1;
                received.latencies.extend(sent.age(number));
            };
            match timeout(expected.patience, self.numbers(look)).await {
                Ok(Ok(())) => received.last = Some(Instant::now()),
                Ok(Err(error)) if is_an_end(&error) => break,
                Ok(Err(error)) => return Err(error),
                Err(_) => break,
            }
        }
        Ok(received)
    }
}

/// Whether the server has closed the connection; what did not come is lost.
fn is_an_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
}
