//! Lag, lengths and the like, looked up every now and then.

use std::{collections::HashSet, sync::Arc};

use synapse_chassis::health::Condition;
use synapse_rs::stream::{Connection, DEAD_LETTER_SUFFIX, GroupInfo, StreamError, StreamInfo};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{hub::Hub, metrics};

/// Streams that are looked at; more would be too many series.
const MAX_STREAMS: usize = 500;
/// The gauges of a stream.
const OF_STREAM: [&str; 3] = ["synapse_stream_length", "synapse_stream_bytes", "synapse_dead_letters"];
/// The gauges of a group.
const OF_GROUP: [&str; 4] = [
    "synapse_group_lag",
    "synapse_group_pending",
    "synapse_group_oldest_pending_seconds",
    "synapse_group_consumers",
];

/// A stream and its groups.
type Look = Vec<(String, StreamInfo, Vec<GroupInfo>)>;

/// Looks until the hub leaves. The first answer of Redis makes the hub ready.
pub async fn run(hub: Arc<Hub>, ready: Condition) {
    let mut beat = interval(hub.settings.metrics_interval);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = Shown::default();
    let mut is_away = false;
    while hub.shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        let look =
            timeout(hub.settings.metrics_interval.max(hub.settings.request_timeout), hub.redis.ask(look));
        let Some(looked) = hub.shutdown.run_until_cancelled(look).await else { return };
        match looked {
            Ok(Ok(found)) => {
                ready.met();
                shown.show(&found);
                if std::mem::take(&mut is_away) {
                    tracing::info!("redis answers again");
                }
            }
            failed => {
                let reason = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "it does not answer in time".to_owned(),
                };
                ready.waiting_because(reason.as_str());
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(
                        reason,
                        "redis can't be asked; requests are answered with 503 until it can"
                    );
                }
                // Sooner than the next look: the hub may be waited for.
                beat.reset_after(hub.settings.metrics_interval.min(std::time::Duration::from_secs(1)));
            }
        }
    }
}

async fn look(connection: Connection) -> Result<Look, StreamError> {
    let mut found = Vec::new();
    for name in connection.streams().await?.into_iter().take(MAX_STREAMS) {
        if let Some(info) = connection.info(&name).await? {
            let groups = connection.groups(&name).await?;
            found.push((name, info, groups));
        }
    }
    Ok(found)
}

/// What has gauges now. Those of what is gone say NaN: they can't be taken back.
#[derive(Debug, Default)]
struct Shown {
    streams: HashSet<String>,
    groups: HashSet<(String, String)>,
}

impl Shown {
    fn show(&mut self, found: &Look) {
        let before = std::mem::take(self);
        for (name, info, groups) in found {
            metrics::stream(OF_STREAM[0], name, info.length as f64);
            metrics::stream(OF_STREAM[1], name, info.bytes.map_or(f64::NAN, |bytes| bytes as f64));
            if let Some(stream) = name.strip_suffix(DEAD_LETTER_SUFFIX) {
                metrics::stream(OF_STREAM[2], stream, info.length as f64);
            }
            self.streams.insert(name.clone());
            for group in groups {
                let values = [
                    group.lag.map_or(f64::NAN, |lag| lag as f64),
                    group.pending as f64,
                    metrics::seconds(group.oldest_pending),
                    group.consumers as f64,
                ];
                for (gauge, value) in OF_GROUP.into_iter().zip(values) {
                    metrics::group(gauge, name, &group.name, value);
                }
                self.groups.insert((name.clone(), group.name.clone()));
            }
        }
        for gone in before.streams.difference(&self.streams) {
            for gauge in &OF_STREAM[..2] {
                metrics::stream(gauge, gone, f64::NAN);
            }
            if let Some(stream) = gone.strip_suffix(DEAD_LETTER_SUFFIX) {
                metrics::stream(OF_STREAM[2], stream, 0.0);
            }
        }
        for (stream, group) in before.groups.difference(&self.groups) {
            for gauge in OF_GROUP {
                metrics::group(gauge, stream, group, f64::NAN);
            }
        }
    }
}
