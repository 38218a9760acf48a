//! What can be tested from within alone.

use std::convert::Infallible;

use synapse_database::{Change, Refusable};
use tempfile::TempDir;

use super::*;
use crate::sample::{Inference, PointTime};

/// Says how many pages the file may have.
struct Pages(u32);

impl Change for Pages {
    type Output = ();
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<(), Refusable<Infallible>> {
        let text = format!("PRAGMA max_page_count = {}", self.0);
        sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(connection).await?;
        Ok(())
    }
}

fn samples(numbers: std::ops::Range<i64>) -> Vec<Sample> {
    let sample = |number| Inference {
        time: PointTime::from_ns(number),
        model_name: "m".to_owned(),
        version: "1".to_owned(),
        user_id: Some("a user with a name of some length".to_owned()),
        latency_ms: 1.0,
        tokens_used: Some(1),
        confidence: None,
        cost: None,
        success: true,
        event_time: None,
    };
    numbers.map(|number| Sample::Inference(sample(number))).collect()
}

async fn count(store: &Embedded) -> u64 {
    let all = Window { from: PointTime::from_ns(0), to: PointTime::from_ns(1 << 60) };
    store.models(all).await.unwrap().rows.iter().map(|row| row.summary.count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_outage_that_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let settings = EmbeddedSettings {
        raw_retention: Duration::from_hours(1),
        rollup_retention: Duration::from_hours(1),
        max_bytes: 1 << 40,
        timeout: Duration::from_secs(20),
    };
    let (store, writer) = Embedded::open(&folder.path().join(FILE_NAME), settings).await.unwrap();
    tokio::spawn(writer.run());
    store.database.write(Pages(40)).await.unwrap();
    let mut written = 0;
    let error = loop {
        match store.write(&samples(written..written + 500)).await {
            Ok(_) => written += 500,
            Err(error) => break error,
        }
    };
    let StoreError::Unavailable { reason, .. } = error else { panic!("{error}") };
    assert!(reason.contains(FILE_NAME) && reason.contains("full"), "{reason}");
    assert!(written > 0 && count(&store).await == written.cast_unsigned());
    store.database.write(Pages(1_000_000)).await.unwrap();
    store.write(&samples(0..written + 500)).await.unwrap();
    assert_eq!(count(&store).await, written.cast_unsigned() + 500);
}
