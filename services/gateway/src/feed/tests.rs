use serde_json::json;
use synapse_rs::{Event, Filter};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use super::*;

const CAPACITY: Capacity = Capacity { events: 10, bytes: 1 << 20 };

fn stream() -> Stream {
    Stream::of_key("model-events").unwrap()
}

fn at(ms: u64) -> Position {
    let mut position = Position::default();
    position[stream()] = EntryId::new(ms, 0);
    position
}

fn publish(feed: &Feed, ms: u64) {
    let sealed = Sealed {
        sequence: feed.next_sequence(),
        stream: stream(),
        id: EntryId::new(ms, 0),
        position: at(ms),
        audience: Audience::Everyone,
        payload: format!("{{\"n\":{ms}}}").into_bytes().into(),
    };
    feed.publish(&[Live { sealed: Arc::new(sealed), event: Event::new("x") }], at(ms));
}

/// A client that has asked for everything, and what it hears.
async fn client(feed: &Feed) -> (Arc<Client>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hears = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    socket.writable().await.unwrap();
    let client = Client::new(Link::new(socket, 1 << 20), Protocol::SocketIo);
    client.change(|subscriptions| subscriptions.subscribe(StreamSet::ALL, None));
    feed.hub.enter(&client);
    (client, hears)
}

async fn heard(hears: &mut TcpStream) -> String {
    let mut header = [0; 2];
    hears.read_exact(&mut header).await.unwrap();
    let mut payload = vec![0; usize::from(header[1])];
    hears.read_exact(&mut payload).await.unwrap();
    String::from_utf8(payload).unwrap()
}

#[tokio::test]
async fn a_client_that_is_ahead_of_this_replica_waits_and_then_gets_only_what_is_new() {
    let feed = Feed::new(CAPACITY);
    publish(&feed, 10);
    let (client, mut hears) = client(&feed).await;
    client.set_cursor(at(20));
    assert!(matches!(feed.next_step(&client, &at(20), StreamSet::ALL), Step::Wait));
    publish(&feed, 20);
    assert!(matches!(feed.next_step(&client, &at(20), StreamSet::ALL), Step::Done));
    publish(&feed, 30);
    assert_eq!(heard(&mut hears).await, r#"42["model-event",{"n":30}]"#);
}

#[tokio::test]
async fn a_client_that_is_held_gets_what_was_under_way_and_no_more() {
    let feed = Feed::new(CAPACITY);
    let (client, mut hears) = client(&feed).await;
    feed.follow(&client);
    publish(&feed, 10);
    assert_eq!(feed.hold(&client), 1);
    publish(&feed, 20);
    assert_eq!(client.cursor(), Some(at(10)));
    match feed.next_step(&client, &at(10), StreamSet::ALL) {
        Step::Take(events) => assert_eq!(events.iter().map(|event| event.id.ms).collect::<Vec<_>>(), [20]),
        other => panic!("the event that was not handed out is to be taken: {other:?}"),
    }
    assert!(matches!(feed.next_step(&client, &at(20), StreamSet::ALL), Step::Done));
    publish(&feed, 30);
    assert!(heard(&mut hears).await.contains("10"));
    assert!(heard(&mut hears).await.contains("30"), "20 was handed out although it was held");
}

#[tokio::test]
async fn more_clients_than_the_reader_writes_to_itself_get_it_too() {
    let feed = Feed::new(CAPACITY);
    let mut clients = Vec::new();
    for _ in 0..40 {
        let (client, hears) = client(&feed).await;
        feed.follow(&client);
        clients.push(hears);
    }
    publish(&feed, 10);
    for hears in &mut clients {
        assert_eq!(heard(hears).await, r#"42["model-event",{"n":10}]"#);
    }
}

#[tokio::test]
async fn a_condition_is_tried_once_on_an_event_however_many_have_it() {
    let feed = Feed::new(CAPACITY);
    let wanted = |name: &str| Some(Filter::from_json(&json!({ "model_name": name })).unwrap());
    let mut clients = Vec::new();
    for number in 0..40 {
        let (client, _hears) = client(&feed).await;
        let condition = feed.filters.share(wanted(if number % 2 == 0 { "m" } else { "n" }));
        client.change(|subscriptions| subscriptions.subscribe(StreamSet::ALL, condition));
        feed.follow(&client);
        clients.push(client);
    }
    let live = |ms: u64, name: &str| {
        let sealed = Sealed {
            sequence: ms,
            stream: stream(),
            id: EntryId::new(ms, 0),
            position: at(ms),
            audience: Audience::Everyone,
            payload: b"{}".to_vec().into(),
        };
        Live { sealed: Arc::new(sealed), event: Event::new("x").with("model_name", name) }
    };
    let events = [live(0, "m"), live(1, "n"), live(2, "other")];
    let verdicts = Verdicts::on(&events);
    let encoded = Encoded::new(Protocol::SocketIo, &events);
    let mut got = 0;
    for run in runs(&events) {
        for client in &clients {
            got += client.offer(&run, &encoded, &verdicts).count;
        }
    }
    assert_eq!((got, verdicts.tried()), (40, 6), "two conditions, three events");
}

#[test]
fn all_are_closed_in_time_and_few_at_once() {
    let within = Duration::from_secs(5);
    assert_eq!(pace(10, within).0, 100, "in one go");
    for count in [10_000, 1_000_000] {
        let (together, pause) = pace(count, within);
        let took = pause * u32::try_from(count.div_ceil(together) - 1).unwrap();
        assert!(took <= within, "{took:?}");
        assert!(together <= count / 50, "{together}");
    }
    assert_eq!(pace(5_000, Duration::ZERO), (5_000, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_told_yet_gets_events_as_before() {
    let feed = Arc::new(Feed::new(CAPACITY));
    let mut hear = Vec::new();
    for _ in 0..250 {
        let (client, hears) = client(&feed).await;
        feed.follow(&client);
        hear.push((client, hears));
    }
    let closing = feed.clone();
    let closing =
        tokio::spawn(
            async move { closing.close_by_and_by(CloseReason::Draining, Duration::from_secs(5)).await },
        );
    tokio::task::yield_now().await;
    let closed = |hear: &[(Arc<Client>, TcpStream)]| {
        hear.iter().filter(|(client, _)| client.link.closing().is_some()).count()
    };
    assert_eq!(closed(&hear), 100);
    publish(&feed, 10);
    for (_, hears) in hear.iter_mut().filter(|(client, _)| client.link.closing().is_none()) {
        assert_eq!(heard(hears).await, r#"42["model-event",{"n":10}]"#);
    }
    closing.await.unwrap();
    assert_eq!(closed(&hear), 250);
}
