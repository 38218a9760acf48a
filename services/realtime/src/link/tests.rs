use synapse_test_support::eventually;
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use super::*;
use crate::websocket::frame;

mod change;

const LIMIT: usize = 64 << 10;

async fn pair() -> (Arc<Link>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    socket.writable().await.unwrap();
    (Link::new(socket, LIMIT), client)
}

fn message() -> Piece {
    frame::text(&"x".repeat(1_000)).into()
}

/// Sends until the system takes no more.
fn fill(link: &Link) -> usize {
    let mut sent = 0;
    while !link.is_blocked() {
        link.send(message());
        sent += 1;
    }
    sent
}

#[tokio::test]
async fn what_is_sent_to_an_idle_client_is_written_at_once() {
    let (link, mut client) = pair().await;
    link.send(b"hello".to_vec());
    assert_eq!(link.waiting_bytes(), 0);
    let mut read = [0; 5];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
}

#[tokio::test]
async fn one_caller_is_asked_to_flush_for_all() {
    let (link, mut client) = pair().await;
    let pushes: Vec<_> = (0..3).map(|number| link.push(vec![b'0' + number].into())).collect();
    assert_eq!(pushes, [Pushed::FlushIt, Pushed::Waits, Pushed::Waits]);
    link.flush();
    let mut read = [0; 3];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"012");
    assert_eq!(link.push(b"3".to_vec().into()), Pushed::FlushIt);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_when_its_outbox_is_full() {
    let (link, _client) = pair().await;
    let sent = fill(&link);
    assert!(sent * 1_000 > LIMIT, "the test needs more than the outbox to fill the socket");
    let mut taken = 0;
    while link.push(message()) == Pushed::Waits {
        taken += 1;
        assert!(taken < 10_000, "the outbox has no bound");
    }
    assert_eq!(link.closing(), Some(CloseReason::SlowClient));
    assert!(link.waiting_bytes() <= LIMIT);
}

#[tokio::test]
async fn a_single_frame_may_be_larger_than_the_outbox() {
    let (link, mut client) = pair().await;
    let frame = frame::text(&"x".repeat(LIMIT * 100));
    let length = frame.len();
    link.send(frame.clone());
    assert_eq!(link.closing(), None);
    let reader = tokio::spawn(async move {
        let mut read = vec![0; length];
        client.read_exact(&mut read).await.unwrap();
        read
    });
    while link.waiting_bytes() > 0 {
        link.ready(Interest::WRITABLE).await.unwrap();
        link.unblock();
    }
    assert_eq!(reader.await.unwrap(), frame);
}

#[tokio::test]
async fn a_slow_client_gets_its_started_frame_whole_and_then_the_close_frame() {
    let (link, mut client) = pair().await;
    fill(&link);
    while link.push(message()) == Pushed::Waits {}
    link.keep_started_frame();
    assert!(link.waiting_bytes() < 1_004);
    link.push_last(frame::close(3001, "slow_client"));
    let reader = tokio::spawn(async move {
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        read
    });
    while link.waiting_bytes() > 0 {
        link.ready(Interest::WRITABLE).await.unwrap();
        link.unblock();
    }
    link.shut_down();
    let read = reader.await.unwrap();
    let mut rest = &read[..];
    while rest.len() > 1_004 {
        let (frame, after) = rest.split_at(frame::length_of(rest));
        assert_eq!(frame, message().as_bytes());
        rest = after;
    }
    let rest = rest.strip_prefix(message().as_bytes()).unwrap_or(rest);
    assert_eq!(rest, frame::close(3001, "slow_client"));
}

#[tokio::test]
async fn a_client_that_is_gone_is_found_out_by_writing() {
    let (link, client) = pair().await;
    socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    eventually("the link breaks", || async {
        link.send(message());
        link.is_broken().then_some(())
    })
    .await;
    assert_eq!(link.push(message()), Pushed::Refused);
}

#[tokio::test]
async fn what_comes_for_a_client_that_does_not_read_holds_no_large_buffer() {
    let (link, _client) = pair().await;
    fill(&link);
    let small = frame::text("for this client");
    let batch = bytes::Bytes::from([small.clone(), vec![0; 1 << 20]].concat());
    assert_eq!(link.push(Piece::new(batch.clone(), 0, small.len())), Pushed::Waits);
    assert!(batch.is_unique(), "a few bytes that wait hold a buffer of a mebibyte");
}
