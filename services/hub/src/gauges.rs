//! Lag, lengths and the like, looked up every now and then.

use std::sync::Arc;

use synapse_chassis::{health::Condition, telemetry::Metrics};
use synapse_rs::stream::{ALL, Connection, DEAD_LETTER_SUFFIX, GroupInfo, StreamError, StreamInfo};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{hub::Hub, metrics};

/// Streams that are looked at; more would be too many series.
const MAX_STREAMS: usize = 500;
/// Groups of all of them that are looked at.
const MAX_GROUPS: usize = 2_000;

/// What a look has found, the platform's own streams first.
#[derive(Debug, Default)]
struct Look {
    streams: Vec<(String, StreamInfo, Vec<GroupInfo>)>,
    /// How many groups they have together.
    groups: usize,
    /// Whether there are more streams or groups.
    left_out: bool,
}

/// Looks until the hub leaves. The first answer of Redis makes the hub ready.
pub async fn run(hub: Arc<Hub>, ready: Condition) {
    let mut beat = interval(hub.settings.metrics_interval);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut is_away, mut left_out) = (false, false);
    while hub.shutdown.run_until_cancelled(beat.tick()).await.is_some() {
        let look =
            timeout(hub.settings.metrics_interval.max(hub.settings.request_timeout), hub.redis.ask(look));
        let Some(looked) = hub.shutdown.run_until_cancelled(look).await else { return };
        match looked {
            Ok(Ok(found)) => {
                ready.met();
                found.show(hub.metrics.as_ref());
                if found.left_out && !std::mem::replace(&mut left_out, true) {
                    tracing::warn!(
                        "there are more than {MAX_STREAMS} streams or {MAX_GROUPS} groups: the others have no metrics"
                    );
                }
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
    let mut found = Look::default();
    let own = ALL.into_iter().flat_map(|name| [name.to_owned(), format!("{name}{DEAD_LETTER_SUFFIX}")]);
    let own: Vec<_> = own.collect();
    let there = connection.streams().await?;
    let others = there.into_iter().filter(|name| !own.contains(name));
    for name in own.iter().cloned().chain(others) {
        if found.streams.len() == MAX_STREAMS {
            found.left_out = true;
            break;
        }
        // One of ours that does not exist, or is no stream, is not one of them.
        let info = match connection.info(&name).await {
            Err(error) if error.code() == Some("WRONGTYPE") => continue,
            info => info?,
        };
        if let Some(info) = info {
            let mut groups = connection.groups(&name).await?;
            found.left_out |= groups.len() > MAX_GROUPS - found.groups;
            groups.truncate(MAX_GROUPS - found.groups);
            found.groups += groups.len();
            found.streams.push((name, info, groups));
        }
    }
    Ok(found)
}

impl Look {
    /// Shows these, and nothing of what was there before and is gone.
    fn show(&self, metrics: Option<&Metrics>) {
        if let Some(metrics) = metrics {
            metrics.replace("look", || self.set());
        }
    }

    fn set(&self) {
        metrics::describe_look();
        for (name, info, groups) in &self.streams {
            metrics::stream("synapse_stream_length", name, info.length as f64);
            metrics::stream("synapse_stream_bytes", name, info.bytes.map_or(f64::NAN, |bytes| bytes as f64));
            if let Some(stream) = name.strip_suffix(DEAD_LETTER_SUFFIX) {
                metrics::stream("synapse_dead_letters", stream, info.length as f64);
            }
            for group in groups {
                let set = |gauge, value| metrics::group(gauge, name, &group.name, value);
                set("synapse_group_lag", group.lag.map_or(f64::NAN, |lag| lag as f64));
                set("synapse_group_pending", group.pending as f64);
                set("synapse_group_oldest_pending_seconds", metrics::seconds(group.oldest_pending));
                set("synapse_group_consumers", group.consumers as f64);
            }
        }
    }
}
