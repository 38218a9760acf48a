use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A client in its room, and the far end of its socket.
async fn client(limit: usize) -> (Arc<Client>, Room, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    near.writable().await.unwrap();
    let client = Client::new(Link::new(near, limit));
    let room = Room::user("u").unwrap();
    client.hold(room.clone());
    (client, room, far)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn frame(length: usize) -> Piece {
    synapse_realtime::websocket::frame::text(&"x".repeat(length)).into()
}

#[tokio::test]
async fn what_was_sent_before_a_ping_has_arrived_when_it_is_answered_and_nothing_else() {
    let (client, room, _far) = client(1 << 20).await;
    assert_eq!(client.release(&room, vec![(id(1), frame(9))]), 1);
    assert!(client.ask_at().is_some());
    client.asked();
    assert_eq!(client.ask_at(), None);
    assert_ne!(client.offer(id(2), &frame(9)), Offered::No);
    assert_eq!(client.answered(), [id(1)]);
    assert!(client.answered().is_empty(), "nobody was asked about it");
    client.asked();
    assert_eq!(client.answered(), [id(2)]);
}

#[tokio::test]
async fn nothing_is_sent_twice_however_it_comes() {
    let (client, room, _far) = client(1 << 20).await;
    assert_eq!(client.offer(id(2), &frame(9)), Offered::Held);
    assert_eq!(client.release(&room, vec![(id(1), frame(9)), (id(2), frame(9))]), 2);
    assert_eq!(client.offer(id(1), &frame(9)), Offered::No);
    assert_ne!(client.offer(id(3), &frame(9)), Offered::No);
    // It is looked up again, before it was noted what has arrived.
    assert_eq!(client.hold_again(), Some(room.clone()));
    assert_eq!(client.release(&room, vec![(id(2), frame(9)), (id(3), frame(9))]), 0);
    client.silence();
    assert_eq!(client.hold_again(), None);
    assert_eq!(client.release(&room, vec![(id(4), frame(9))]), 0, "it has left");
}

#[tokio::test]
async fn what_is_held_is_bounded_in_bytes() {
    let (client, _room, _far) = client(1_000).await;
    assert_eq!(client.offer(id(1), &frame(900)), Offered::Held);
    assert_eq!(client.offer(id(2), &frame(900)), Offered::No);
    assert_eq!(client.link.closing(), Some(CloseReason::EventsLost));
}
