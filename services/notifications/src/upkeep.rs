//! What is too old goes, and operators see what there is.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{metrics, notification::now_ms, platform::Platform};

/// How often the gauges are looked up.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How many looks there are from one removal to the next.
const LOOKS_PER_REMOVAL: u32 = 60;
/// For how long a subscription may fail without a success in between: 30 days.
const FAILING_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// Removes and counts, until the service leaves.
pub async fn run(platform: Arc<Platform>) {
    let shutdown = platform.service.shutdown.clone();
    let mut beat = interval(LOOK_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = 0_u32;
    while shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        metrics::connections(platform.feed.hub.len(), platform.feed.hub.room_count());
        match platform.store.gauges().await {
            Ok(gauges) => metrics::tables(gauges, now_ms()),
            Err(error) => {
                metrics::database_failed("gauges");
                tracing::debug!(%error, "the tables can't be counted");
            }
        }
        if looks.is_multiple_of(LOOKS_PER_REMOVAL) {
            shutdown.run_until_cancelled(remove(&platform)).await;
        }
        looks = looks.wrapping_add(1);
    }
}

/// Removes all that are older than they are kept, some at a time, and subscriptions that nothing reaches any more.
async fn remove(platform: &Platform) {
    loop {
        match platform.store.remove_expired_pushes(now_ms()).await {
            Ok(0) => break,
            Ok(removed) => metrics::pushes_expired(removed),
            Err(error) => {
                metrics::database_failed("remove");
                tracing::debug!(%error, "pushes that nobody wants any more can't be removed");
                break;
            }
        }
    }
    match platform.store.remove_failing(now_ms() - FAILING_MS).await {
        Ok(removed) => metrics::subscriptions_removed(removed),
        Err(error) => {
            metrics::database_failed("remove");
            tracing::debug!(%error, "subscriptions that fail can't be removed");
        }
    }
    let kept_ms = i64::try_from(platform.settings.retention.as_millis()).unwrap_or(i64::MAX);
    let before_ms = now_ms().saturating_sub(kept_ms);
    loop {
        match platform.store.remove_before(before_ms).await {
            Ok(0) => return,
            Ok(removed) => metrics::expired(removed),
            Err(error) => {
                metrics::database_failed("remove");
                tracing::debug!(%error, "expired notifications can't be removed");
                return;
            }
        }
    }
}
