//! The connection is cut at every byte of a batch: nothing is lost, nothing doubled, and order holds.

use synapse_rs::publisher::PublisherConfig;
use synapse_test_support::{Cut, Fault, Gate, Plan, Proxy, RedisServer};

use crate::{
    lab::{BATCH, Lab, Where},
    support::*,
};

#[tokio::test]
async fn a_request_cut_at_any_byte_arrives_once() {
    let lab = Lab::new().await;
    lab.each(lab.batch.0, async |round| {
        round.proxy.plan(round.plan(Where::Requests, round.at));
        let ledger = round.send(round.proxy, "synapse").await;
        round.arrived_once(&ledger).await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_arrives_once_whose_replies_are_cut_at_any_byte() {
    let lab = Lab::new().await;
    lab.each(lab.batch.1, async |round| {
        round.proxy.plan(round.plan(Where::Replies, round.at));
        let ledger = round.send(round.proxy, "synapse").await;
        round.arrived_once(&ledger).await;
    })
    .await;
}

#[tokio::test]
async fn two_publishers_on_the_same_streams_are_cut_at_any_byte() {
    let lab = Lab::new().await;
    lab.each(lab.batch.0, async |round| {
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
    lab.each(lab.batch.0, async |round| {
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
    lab.each(QUESTIONS_BYTES, async |round| {
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
    lab.each(ANSWERS_BYTES, async |round| {
        round.proxy.plan(round.plan(Where::Requests, round.at % lab.batch.0));
        round.proxy.plan(Plan::new().from_the_start().replies(round.at, round.cut()));
        let ledger = round.send(round.proxy, "synapse").await;
        round.arrived_once(&ledger).await;
    })
    .await;
}

#[tokio::test]
async fn events_that_share_an_event_id_are_told_apart() {
    let server = RedisServer::new();
    let connection = connect(&server).await;
    let proxy = Proxy::to(&server).await;
    let shared = |number| numbered(number).with("event_id", "0199c9bb-0000-7000-8000-000000000000");
    let send = |publisher: &synapse_rs::Publisher| {
        (0..10).map(|number| publisher.send(STREAM, &shared(number)).unwrap()).collect::<Vec<_>>()
    };
    let publisher = start_through(&proxy, PublisherConfig::default());
    send(&publisher);
    publisher.flush(PATIENCE).await.unwrap();
    let request = proxy.passed().request_bytes;
    publisher.close(PATIENCE).await.unwrap();
    for tenths in 0..=10 {
        redis::cmd("FLUSHALL").exec(&mut server.connection()).unwrap();
        proxy.plan(Plan::new().requests(request * tenths / 10, Fault::Cut(Cut::Reset)));
        let publisher = start_through(&proxy, PublisherConfig::default());
        let receipts = send(&publisher);
        publisher.flush(PATIENCE).await.unwrap();
        let found = entries(&connection, STREAM).await;
        let numbers: Vec<_> = found.iter().map(|entry| number(entry).unwrap()).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "cut after {tenths} events");
        let ids: Vec<_> = receipts.iter().map(|receipt| receipt.outcome().unwrap().unwrap()).collect();
        assert_eq!(ids, found.iter().map(|entry| entry.id).collect::<Vec<_>>());
        publisher.close(PATIENCE).await.unwrap();
    }
}
