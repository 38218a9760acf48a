//! The connection is cut at every byte of a batch: nothing is lost, nothing doubled, and order holds.

use std::collections::BTreeSet;

use synapse_rs::{Event, Publisher, RedisSettings, publisher::PublisherConfig, stream::Connection};
use synapse_test_support::{Cut, Fault, Gate, Plan, Proxy, RedisServer};

use crate::{
    lab::{BATCH, Lab, Where},
    support::*,
};

#[tokio::test]
async fn a_request_cut_at_any_byte_arrives_once() {
    let lab = Lab::new().await;
    lab.each(lab.batch.0, 11, async |round| {
        round.proxy.plan(round.plan(Where::Requests, round.at));
        let ledger = round.send(round.proxy, "synapse").await;
        round.arrived_once(&ledger).await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_arrives_once_whose_replies_are_cut_at_any_byte() {
    let lab = Lab::new().await;
    lab.each(lab.batch.1, 2, async |round| {
        round.proxy.plan(round.plan(Where::Replies, round.at));
        let ledger = round.send(round.proxy, "synapse").await;
        round.arrived_once(&ledger).await;
    })
    .await;
}

#[tokio::test]
async fn two_publishers_on_the_same_streams_are_cut_at_any_byte() {
    let lab = Lab::new().await;
    lab.each(lab.batch.0, 29, async |round| {
        let other = lab.proxy().await;
        round.proxy.plan(round.plan(Where::Requests, round.at));
        other.plan(round.plan(Where::Requests, lab.batch.0 - round.at));
        let (one, two) = tokio::join!(round.send(round.proxy, "synapse"), round.send(&other, "synapsf"));
        round.arrived_once(&one).await;
        round.arrived_once(&two).await;
    })
    .await;
}

#[tokio::test]
async fn others_write_between_the_cut_and_the_next_connection() {
    let lab = Lab::new().await;
    lab.each(lab.batch.0, 17, async |round| {
        let (gate, before) = (Gate::new(), round.proxy.passed());
        round.proxy.plan(round.plan(Where::Requests, round.at));
        round.proxy.plan(Plan::new().from_the_start().requests(0, Fault::Hold(gate.clone())));
        let ledger = round.send(round.proxy, "synapse").await;
        round.proxy.until("the server is done", |passed| passed.broken > before.broken).await;
        for (stream, number) in round.streams().iter().zip(BATCH) {
            // Someone else's event of the same number, and an entry that is no event.
            for fields in
                [vec![("event", "counted"), ("number", &*number.to_string())], vec![("created", "1")]]
            {
                lab.connection.append(stream, fields, None).await.unwrap();
            }
        }
        gate.open();
        round.arrived_once(&ledger).await;
    })
    .await;
}

/// What a publisher asks after a cut is at most this long.
const QUESTIONS_BYTES: u64 = 1_500;
const ANSWERS_BYTES: u64 = 8_000;

#[tokio::test]
async fn the_questions_after_a_cut_are_cut_at_any_byte_too() {
    let lab = Lab::new().await;
    lab.each(QUESTIONS_BYTES, 7, async |round| {
        round.proxy.plan(round.plan(Where::Replies, round.at % lab.batch.1));
        round.proxy.plan(Plan::new().from_the_start().requests(round.at, round.cut()));
        let ledger = round.send(round.proxy, "synapse").await;
        round.arrived_once(&ledger).await;
    })
    .await;
}

#[tokio::test]
async fn the_answers_after_a_cut_are_cut_at_any_byte_too() {
    let lab = Lab::new().await;
    lab.each(ANSWERS_BYTES, 29, async |round| {
        round.proxy.plan(round.plan(Where::Requests, round.at % lab.batch.0));
        round.proxy.plan(Plan::new().from_the_start().replies(round.at, round.cut()));
        let ledger = round.send(round.proxy, "synapse").await;
        round.arrived_once(&ledger).await;
    })
    .await;
}

/// Publishes ten events and cuts the connection after each number of them; all arrive, and receipts tell where.
///
/// So many are acknowledged `earlier`, each of them alone.
async fn ten_arrive_once(
    stream: impl Fn(u64) -> String,
    event: impl Fn(u64) -> Event,
    path: &str,
    prepare: impl Fn(&RedisServer) -> u64,
    earlier: u64,
) {
    let server = RedisServer::new();
    let proxy = Proxy::to(&server).await;
    let settings = |url: String| RedisSettings::from_url(&format!("{url}{path}")).unwrap();
    let connection = Connection::open(&settings(server.url())).await.unwrap();
    let play = async |plan: Plan| {
        admin::<()>(&server, &["FLUSHALL"]);
        let others = prepare(&server);
        proxy.plan(plan);
        let publisher = Publisher::start(settings(proxy.url()), PublisherConfig::default());
        for number in 0..earlier {
            publisher.publish(&stream(number), &event(number)).unwrap();
            publisher.flush(PATIENCE).await.unwrap();
        }
        let sent = |number| (number, publisher.send(&stream(number), &event(number)).unwrap());
        let sent: Vec<_> = (0..10).map(sent).collect();
        publisher.flush(PATIENCE).await.unwrap();
        for (number, receipt) in &sent {
            let id = receipt.outcome().unwrap().unwrap();
            let found = connection.range(&stream(*number), id, id, 1).await.unwrap();
            assert_eq!(found.first().map(self::number), Some(Some(event_number(&event(*number)))));
        }
        let mut added = 0;
        for stream in (0..10).map(&stream).collect::<BTreeSet<_>>() {
            added += ever_added(&connection, &stream).await;
        }
        assert_eq!((added - others - earlier, publisher.stats().possible_duplicates), (10, 0));
        publisher.close(PATIENCE).await.unwrap();
    };
    play(Plan::new()).await;
    let request = proxy.passed().request_bytes;
    for part in earlier..=10 + earlier {
        play(Plan::new().requests(request * part / (10 + earlier), Fault::Cut(Cut::Reset))).await;
    }
}

fn event_number(event: &Event) -> u64 {
    event.get("number").and_then(serde_json::Value::as_u64).unwrap()
}

const ID: &str = "0199c9bb-0000-7000-8000-000000000000";

#[tokio::test]
async fn events_that_share_an_event_id_are_told_apart() {
    ten_arrive_once(|_| STREAM.to_owned(), |number| numbered(number).with("event_id", ID), "", |_| 0, 0)
        .await;
}

#[tokio::test]
async fn events_that_are_all_alike_are_counted() {
    let event = |_| numbered(7).with("event_id", ID).with("timestamp", "2026-01-01T00:00:00Z");
    ten_arrive_once(|_| STREAM.to_owned(), event, "", |_| 0, 3).await;
}

#[tokio::test]
async fn events_that_each_have_a_stream_of_their_own() {
    ten_arrive_once(|number| format!("stream-{number}"), numbered, "", |_| 0, 0).await;
}

#[tokio::test]
async fn events_of_another_database() {
    ten_arrive_once(|number| format!("stream-{}", number % 2), numbered, "/3", |_| 0, 0).await;
}

#[tokio::test]
async fn events_of_a_stream_whose_ids_lie_in_the_future() {
    let prepare = |server: &RedisServer| {
        admin::<()>(server, &["XADD", STREAM, "99999999999999-7", "event", "other"]);
        1
    };
    ten_arrive_once(|_| STREAM.to_owned(), numbered, "", prepare, 0).await;
}

/// So many entries of others that they are read in several pages, in front of ours and behind them.
#[tokio::test]
async fn ours_are_found_among_thousands_of_others() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let mut measure = Ledger::new(start_through(&proxy, PublisherConfig::default()));
    measure.send(&[STREAM], 1_000..1_500);
    measure.flush("nothing is wrong").await;
    measure.publisher.close(PATIENCE).await.unwrap();
    admin::<()>(&server, &["FLUSHALL"]);
    let crowd = || {
        let mut commands = redis::pipe();
        for number in 0..7_000 {
            commands
                .cmd("XADD")
                .arg(STREAM)
                .arg("*")
                .arg("event")
                .arg("other")
                .arg("number")
                .arg(number)
                .ignore();
        }
        commands.exec(&mut server.connection()).unwrap();
    };
    let (before, gates) = (proxy.passed(), [Gate::new(), Gate::new()]);
    let plan = Plan::new().requests(0, Fault::Hold(gates[0].clone())).replies(0, Fault::Swallow);
    proxy.plan(plan.requests(before.request_bytes - 100, Fault::Cut(Cut::Reset)));
    proxy.plan(Plan::new().from_the_start().requests(0, Fault::Hold(gates[1].clone())));
    let mut ledger = Ledger::new(start_through(&proxy, PublisherConfig::default()));
    ledger.send(&[STREAM], 1_000..1_500);
    proxy.until("the batch is held", |passed| passed.faults == before.faults + 1).await;
    crowd();
    gates[0].open();
    proxy.until("the server is done", |passed| passed.broken > before.broken).await;
    crowd();
    gates[1].open();
    ledger.arrived_once(&connection, "in a crowd").await;
}
