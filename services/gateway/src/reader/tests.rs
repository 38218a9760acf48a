use synapse_chassis::settings::Environment;
use synapse_realtime::{close::CloseReason, link::Link};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{audience::Audiences, client::Client, frames::Protocol};

const CAPACITY: Capacity = Capacity { events: 10, bytes: 1 << 20 };

/// A reader that has read a stream of 10 entries up to 100-0, and a client.
async fn reader() -> (Reader, Stream, Arc<Client>) {
    let feed = Arc::new(Feed::new(CAPACITY));
    let sealer = Sealer { audiences: Audiences { is_open: true } };
    let settings = Settings { history: CAPACITY, ..Settings::read(&Environment::default()).unwrap() };
    let mut reader = Reader::new(RedisSettings::default(), feed.clone(), sealer, &settings);
    let stream = Stream::of_key("model-events").unwrap();
    reader.restart(stream, EntryId::new(100, 0), Some(10));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let client = Client::new(Link::new(socket, 1_000), Protocol::WebSocket);
    feed.hub.enter(&client);
    (reader, stream, client)
}

fn info(first: u64, last: u64, length: u64, added: u64) -> StreamInfo {
    StreamInfo {
        length,
        first_id: (length > 0).then_some(EntryId::new(first, 0)),
        last_generated_id: EntryId::new(last, 0),
        entries_added: Some(added),
        max_deleted_id: Some(EntryId::MIN),
        bytes: None,
        groups: 0,
    }
}

#[tokio::test]
async fn a_stream_that_only_grew_is_read_on_from_where_it_was() {
    let (mut reader, stream, client) = reader().await;
    reader.compare(stream, Some(&info(50, 200, 20, 15)), &[]);
    assert_eq!(reader.at[stream], EntryId::new(100, 0));
    assert_eq!(client.link.closing(), None);
}

#[tokio::test]
async fn what_was_read_may_be_trimmed_without_harm() {
    let (mut reader, stream, client) = reader().await;
    // 15 were added, the first 10 of them are gone: all that are left are new.
    reader.compare(stream, Some(&info(110, 200, 5, 15)), &[]);
    assert_eq!(reader.at[stream], EntryId::new(100, 0));
    assert_eq!(client.link.closing(), None);
}

#[tokio::test]
async fn entries_trimmed_unread_send_everyone_away() {
    let (mut reader, stream, client) = reader().await;
    // 15 were added, only the last 3 are there: 2 were never read.
    reader.compare(stream, Some(&info(110, 200, 3, 15)), &[]);
    assert_eq!(client.link.closing(), Some(CloseReason::EventsLost));
    assert_eq!(reader.at[stream], EntryId::new(109, u64::MAX), "the first that is there comes next");
    assert_eq!(reader.added[stream.index()], Some(12));
    let (floor, head) = reader.feed.extent();
    assert_eq!((floor[stream], head[stream]), (reader.at[stream], reader.at[stream]));
}

#[tokio::test]
async fn a_stream_emptied_unread_sends_everyone_away() {
    let (mut reader, stream, client) = reader().await;
    reader.compare(stream, Some(&info(0, 100, 0, 10)), &[]);
    assert_eq!(client.link.closing(), None, "all that was trimmed had been read");
    reader.compare(stream, Some(&info(0, 200, 0, 15)), &[]);
    assert_eq!(client.link.closing(), Some(CloseReason::EventsLost));
    assert_eq!(reader.at[stream], EntryId::new(200, 0));
}

#[tokio::test]
async fn what_is_held_was_not_lost_though_it_is_trimmed_by_now() {
    let held = |ids: &[u64]| -> Vec<Entry> {
        ids.iter().map(|ms| Entry::new(EntryId::new(*ms, 0), vec![])).collect()
    };
    // Of 15 that were added 10 had been read, and 5 are held; the last of these is there.
    let (mut reader, stream, client) = reader().await;
    reader.compare(stream, Some(&info(150, 150, 1, 15)), &held(&[110, 120, 130, 140, 150]));
    assert_eq!((client.link.closing(), reader.added[stream.index()]), (None, Some(10)));

    // One between what had been read and what is held is missing.
    reader.compare(stream, Some(&info(150, 150, 1, 15)), &held(&[120, 130, 140, 150]));
    assert_eq!(client.link.closing(), Some(CloseReason::EventsLost));
    assert_eq!(reader.at[stream], EntryId::new(119, u64::MAX), "what is held comes next");
    assert_eq!(reader.added[stream.index()], Some(11));
}

#[tokio::test]
async fn ids_that_went_back_are_followed() {
    for known in [Some(info(10, 90, 9, 9)), None] {
        let (mut reader, stream, client) = reader().await;
        reader.compare(stream, known.as_ref(), &[]);
        let newest = known.map_or(EntryId::MIN, |info| info.last_generated_id);
        assert_eq!(reader.at[stream], newest);
        assert_eq!(reader.feed.progress().borrow().position[stream], newest);
        assert_eq!(client.link.closing(), None);
    }
}

#[test]
fn the_id_before_another_is_the_nearest() {
    let cases = [((5, 3), (5, 2)), ((5, 0), (4, u64::MAX)), ((0, 0), (0, 0))];
    for ((ms, seq), (before_ms, before_seq)) in cases {
        let id = EntryId::new(ms, seq);
        assert_eq!(before(id), EntryId::new(before_ms, before_seq));
        assert!(id == EntryId::MIN || before(id).next() == id);
    }
}
