//! Files that can't be used.

use std::{fs, path::Path, time::Duration};

use synapse_analytics::{
    embedded::{Embedded, EmbeddedError, EmbeddedSettings, FILE_NAME},
    store::StoreError,
};
use synapse_database::{
    AnyConnection, Row as _,
    sqlx::{self, AssertSqlSafe, Connection as _},
};
use tempfile::TempDir;

use crate::support::{BASE, Bench, MINUTE, SETTINGS, inference, samples, window};

#[tokio::test(flavor = "multi_thread")]
async fn one_process_alone_has_the_file() {
    let bench = Bench::new(SETTINGS).await;
    let error = Embedded::open(&bench.path(), SETTINGS).await.map(drop).unwrap_err();
    assert!(matches!(error, EmbeddedError::InUse(_)));
    let message = error.to_string();
    assert!(message.contains(FILE_NAME) && message.contains("DATA_DIR"), "{message}");
    bench.reopen().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(FILE_NAME);
    fs::write(&path, "something else, that is longer than the header of a database, and is none".repeat(20))
        .unwrap();
    let message = Embedded::open(&path, SETTINGS).await.map(drop).unwrap_err().to_string();
    assert!(message.contains(FILE_NAME) && message.contains("not a database"), "{message}");
}

/// A connection of the test's own.
async fn connect(path: &Path) -> AnyConnection {
    AnyConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_fails_by_name_and_is_no_outage() {
    let bench = Bench::new(SETTINGS).await;
    let all: Vec<_> = (0..20_000).map(|number| inference(BASE + number * 7_000_000)).collect();
    bench.write(&samples(&all)).await;
    let mut connection = connect(&bench.path()).await;
    // 0: all of the log is in the file, none of it was in use.
    while let 1 = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get::<i32, _>(0)
    {}
    let damaged = bench.folder.path().join("damaged.db");
    let mut bytes = fs::read(bench.path()).unwrap();
    assert!(bytes.len() > 200_000);
    bytes[8_192..].iter_mut().skip(7).step_by(2).for_each(|byte| *byte = 0xff);
    fs::write(&damaged, bytes).unwrap();
    let message = match Embedded::open(&damaged, SETTINGS).await {
        Err(error) => error.to_string(),
        Ok((store, writer)) => {
            tokio::spawn(writer.run());
            let Err(StoreError::Failed(reason)) = store.models(window(BASE + 1, BASE + 3 * MINUTE)).await
            else {
                panic!("an answer from a damaged file")
            };
            reason
        }
    };
    assert!(message.contains("damaged.db"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_latencies_are_not_told_and_the_next_of_their_minute_mends_them() {
    let bench = Bench::new(SETTINGS).await;
    bench.write(&samples(&[inference(BASE), inference(BASE + MINUTE)])).await;
    let mut connection = connect(&bench.path()).await;
    let damage = format!("UPDATE rollup SET latency = zeroblob(30) WHERE minute = {}", BASE / MINUTE);
    sqlx::query(AssertSqlSafe(damage)).execute(&mut connection).await.unwrap();
    let answer = bench.store.models(window(BASE, BASE + MINUTE)).await;
    let Err(StoreError::Failed(reason)) = answer else { panic!("{answer:?}") };
    assert!(reason.contains(FILE_NAME) && reason.contains("latencies of a minute"), "{reason}");
    bench.write(&samples(&[inference(BASE + 1)])).await;
    let answer = bench.store.models(window(BASE, BASE + MINUTE)).await.unwrap();
    assert_eq!(answer.rows[0].summary.count, 2);
    bench.write(&samples(&[inference(BASE + MINUTE + 1)])).await;
    let answer = bench.store.models(window(BASE + MINUTE, BASE + 2 * MINUTE)).await.unwrap();
    assert_eq!(answer.rows[0].summary.count, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_takes_too_long_is_given_up_and_the_next_is_answered() {
    let bench = Bench::new(SETTINGS).await;
    let all: Vec<_> = (0..60_000).map(|number| inference(BASE + number * 900)).collect();
    bench.write(&samples(&all)).await;
    let path = bench.path();
    let folder = bench.reopen().await;
    let quick = EmbeddedSettings { timeout: Duration::from_millis(20), ..SETTINGS };
    drop(folder.store);
    let (store, _writer) = loop {
        match Embedded::open(&path, quick).await {
            Err(EmbeddedError::InUse(_)) => tokio::task::yield_now().await,
            opened => break opened.unwrap(),
        }
    };
    // All of them are rows of one minute's edge.
    let edge = window(BASE, BASE + MINUTE - 1);
    for _ in 0..8 {
        assert_eq!(store.models(edge).await, Err(StoreError::Slow(Duration::from_millis(18))));
    }
    // More than there are readers were given up; all of them are free again.
    loop {
        match store.models(window(BASE, BASE + 2)).await {
            Ok(told) => break assert_eq!(told.rows[0].summary.count, 1),
            Err(StoreError::Slow(_) | StoreError::Unavailable { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}
