//! The connections of a server: let in within limits, served to their end, told to come back when it leaves.

use std::{future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    close::CloseReason,
    driver::{Ending, Intake, turn_away},
    limits::{AddressLimit, AddressPermit},
    link::Link,
    socketio::{
        polling::{Known, Polled, Sessions},
        session::new_sid,
    },
    websocket::handshake::{Opened, Upgrade},
};

/// What one connection, or one address, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that may wait for one connection.
    pub outbox_bytes: usize,
    /// Bytes of a client's message.
    pub max_message_bytes: usize,
    /// Messages of a client each second; 0 for any number.
    pub max_messages_per_second: u32,
    /// Connections of one address; 0 for any number.
    pub max_connections_per_address: usize,
    /// Sessions that poll: they need no connection of their own, so that a limit of those is none.
    pub max_polled: usize,
    /// Time for the protocol's handshake.
    pub connect_timeout: Duration,
}

/// The connections of a server.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    addresses: AddressLimit,
    polled: Arc<Sessions>,
    running: TaskTracker,
    /// Clients have had their time to hear that the server leaves.
    cut: CancellationToken,
}

impl Connections {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            addresses: AddressLimit::default(),
            polled: Arc::default(),
            running: TaskTracker::new(),
            cut: CancellationToken::new(),
        }
    }

    /// A place for one more connection of an address; `None` if it has too many.
    pub fn place_for(&self, address: IpAddr) -> Option<AddressPermit> {
        self.addresses.acquire(address.to_canonical(), self.limits.max_connections_per_address)
    }

    /// Serves a connection by `converse`, once its handshake has been answered; holds its `place` until it has ended,
    /// and says then by `ended` why.
    pub fn serve<P, F>(
        &self,
        upgrade: Upgrade,
        place: P,
        converse: impl FnOnce(Arc<Link>, Box<Intake>) -> F + Send + 'static,
        ended: impl FnOnce(Ending) + Send + 'static,
    ) where
        P: Send + 'static,
        F: Future<Output = Ending> + Send,
    {
        let limits = self.limits;
        let opening = async move {
            let Opened { socket, first_bytes } = upgrade.open().await?;
            let intake = Intake::new(limits.max_message_bytes, limits.max_messages_per_second, &first_bytes);
            Some((socket, Box::new(intake), ()))
        };
        self.serve_opening(opening, place, move |link, intake, ()| converse(link, intake), ended);
    }

    /// The same for a client that only listens: `opening` gives the socket, and what else `converse` needs.
    pub fn serve_listener<P, T, F>(
        &self,
        opening: impl Future<Output = Option<(TcpStream, T)>> + Send + 'static,
        place: P,
        converse: impl FnOnce(Arc<Link>, Box<Intake>, T) -> F + Send + 'static,
        ended: impl FnOnce(Ending) + Send + 'static,
    ) where
        P: Send + 'static,
        T: Send + 'static,
        F: Future<Output = Ending> + Send,
    {
        let max_bytes = self.limits.max_message_bytes;
        let opening = async move {
            let (socket, more) = opening.await?;
            Some((socket, Box::new(Intake::unheard(max_bytes)), more))
        };
        self.serve_opening(opening, place, converse, ended);
    }

    fn serve_opening<P, T, F>(
        &self,
        opening: impl Future<Output = Option<(TcpStream, Box<Intake>, T)>> + Send + 'static,
        place: P,
        converse: impl FnOnce(Arc<Link>, Box<Intake>, T) -> F + Send + 'static,
        ended: impl FnOnce(Ending) + Send + 'static,
    ) where
        P: Send + 'static,
        T: Send + 'static,
        F: Future<Output = Ending> + Send,
    {
        let (limits, cut) = (self.limits, self.cut.clone());
        self.running.spawn(async move {
            let opening = Box::pin(timeout(limits.connect_timeout, opening));
            let Some(Ok(Some((socket, intake, more)))) = cut.run_until_cancelled(opening).await else {
                return;
            };
            let link = Link::new(socket, limits.outbox_bytes);
            ended(unless_cut(&cut, Box::pin(converse(link, intake, more))).await);
            drop(place);
        });
    }

    /// Serves a client that polls as [`Connections::serve`] does; its first request is to take what comes back. `None` if
    /// there are too many.
    pub fn serve_polled<P, F>(
        &self,
        place: P,
        converse: impl FnOnce(Arc<Link>, Box<Intake>) -> F + Send + 'static,
        ended: impl FnOnce(Ending) + Send + 'static,
    ) -> Option<Arc<Polled>>
    where
        P: Send + 'static,
        F: Future<Output = Ending> + Send,
    {
        let (limits, cut) = (self.limits, self.cut.clone());
        let link = Link::polled(limits.outbox_bytes);
        let (sid, (sender, deliveries)) = (new_sid(), mpsc::channel(1));
        let (polled, registered) = self.polled.register(&sid, link.clone(), sender, limits.max_polled)?;
        let intake = Intake::from_requests(
            limits.max_message_bytes,
            limits.max_messages_per_second,
            &sid,
            deliveries,
            registered,
        );
        self.running.spawn(async move {
            ended(unless_cut(&cut, Box::pin(converse(link, Box::new(intake)))).await);
            drop(place);
        });
        Some(polled)
    }

    /// The session by this id that polls, or did.
    pub(crate) fn polled(&self, sid: &str) -> Option<Known> {
        self.polled.find(sid)
    }

    /// Has a session that polls change to a WebSocket, once its handshake has been answered; holds `place` as long as the socket.
    /// Without a session, whose client has changed already, the socket is closed.
    pub fn upgrade<P: Send + 'static>(&self, polled: Option<Arc<Polled>>, upgrade: Upgrade, place: P) {
        let (limits, cut) = (self.limits, self.cut.clone());
        self.running.spawn(async move {
            let changing = timeout(limits.connect_timeout, async {
                let Some(opened) = upgrade.open().await else { return };
                match polled {
                    Some(polled) => polled.upgrade(opened, limits.max_message_bytes, Box::new(place)).await,
                    None => turn_away(opened.socket).await,
                }
            });
            // A session whose change takes too long goes on polling.
            let _ = cut.run_until_cancelled(changing).await;
        });
    }

    /// Waits until all have gone, who have been told to; those that take longer than `patience` to hear it are left
    /// without.
    pub async fn drain(&self, patience: Duration) {
        self.running.close();
        if timeout(patience, self.running.wait()).await.is_err() {
            tracing::info!(
                connections = self.running.len(),
                "connections were cut: their clients do not read"
            );
            self.cut.cancel();
            self.running.wait().await;
        }
    }
}

/// How a conversation ends, be it that all are cut. It has memory of its own: a future that is handed on is kept by each
/// who hands it on, and there is one for every idle connection.
async fn unless_cut(cut: &CancellationToken, conversation: Pin<Box<impl Future<Output = Ending>>>) -> Ending {
    let ending = cut.run_until_cancelled(conversation).await;
    ending.unwrap_or(Ending::ServerClosed(CloseReason::Draining))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_same_address() {
        let connections = Connections::new(Limits {
            outbox_bytes: 1,
            max_message_bytes: 1,
            max_messages_per_second: 0,
            max_connections_per_address: 1,
            max_polled: 1,
            connect_timeout: Duration::from_secs(1),
        });
        let _place = connections.place_for("192.0.2.1".parse().unwrap()).expect("the first place");
        assert!(connections.place_for("::ffff:192.0.2.1".parse().unwrap()).is_none());
        assert!(connections.place_for("192.0.2.2".parse().unwrap()).is_some());
    }
}
