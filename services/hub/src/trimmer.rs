//! Trims the streams, in one of all hubs.
//!
//! Who holds the lock `synapse:trimmer` trims. It lives for `TRIM_TAKEOVER` and is renewed three times as often or more, before
//! each stream too; a hub that can't renew it stops, and another takes it when its time is up.

use std::{collections::HashMap, sync::Arc, time::Duration};

use synapse_chassis::telemetry::Metrics;
use synapse_rs::{
    retention::{self, Features, Report},
    stream::{StreamError, lock::TRIMMER as LOCK},
};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{hub::Hub, metrics, settings::TrimStreams};

/// How long giving the lock up may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Trims when it is this hub's turn, until the hub leaves.
pub async fn run(hub: Arc<Hub>) {
    if hub.settings.trim_interval.is_zero() {
        return;
    }
    let mut trimmer = Trimmer::new(hub.clone());
    let beat = hub.settings.trim_interval.min(hub.settings.trim_takeover / 3);
    while hub.shutdown.run_until_cancelled(trimmer.beat()).await.is_some() {
        if hub.shutdown.run_until_cancelled(sleep(beat)).await.is_none() {
            break;
        }
    }
    trimmer.leave().await;
}

struct Trimmer {
    hub: Arc<Hub>,
    /// Who we are among all hubs.
    owner: String,
    is_elected: bool,
    /// Why the lock could not be asked for the last time it was.
    trouble: Option<String>,
    /// When the lock was last renewed.
    renewed: Instant,
    /// When the next round is due.
    due: Instant,
    told: Told,
}

impl Trimmer {
    fn new(hub: Arc<Hub>) -> Self {
        let now = Instant::now();
        let owner = Uuid::now_v7().to_string();
        Self { hub, owner, is_elected: false, trouble: None, renewed: now, due: now, told: Told::default() }
    }

    /// Renews the lock, and trims if it is ours and time.
    async fn beat(&mut self) {
        if !self.hold().await || Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + self.hub.settings.trim_interval;
        if let Err(error) = self.round().await {
            metrics::trim_failed();
            tracing::warn!(%error, "streams could not be trimmed; trying again in TRIM_INTERVAL");
        }
    }

    /// Whether this hub is the one that trims.
    async fn hold(&mut self) -> bool {
        let ttl = self.hub.settings.trim_takeover;
        let (owner, asked) = (self.owner.as_str(), Instant::now());
        let held =
            self.hub.redis.ask(|connection| async move { connection.hold_lock(LOCK, owner, ttl).await });
        // Later than this it may be another's, whatever the answer.
        let held = timeout(ttl / 2, held).await;
        let is_held = matches!(held, Ok(Ok(true)));
        self.tell_trouble(match held {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("redis does not answer in time".to_owned()),
        });
        if is_held {
            self.renewed = asked;
        }
        if is_held != self.is_elected {
            self.is_elected = is_held;
            metrics::elected(is_held);
            let now = if is_held { "trimming" } else { "no longer trimming" };
            tracing::info!(reason = "the lock among all hubs", "{now}");
        }
        if !is_held && !self.told.0.is_empty() {
            // From now on another tells; what is so still when it is our turn again is told anew.
            self.told = Told::default();
            self.told.show(self.hub.metrics.as_ref());
        }
        is_held
    }

    /// Counts each time that the lock could not be asked for, and logs it when the reason is another than the last.
    fn tell_trouble(&mut self, trouble: Option<String>) {
        if let Some(reason) = &trouble {
            metrics::trim_failed();
            if self.trouble != trouble {
                tracing::warn!(
                    reason,
                    "the lock {LOCK} can't be asked for: this hub does not trim until it can. It is to be a key that hubs alone write, by SET and EVAL"
                );
            }
        } else if self.trouble.is_some() {
            tracing::info!("the lock {LOCK} can be asked for again");
        }
        self.trouble = trouble;
    }

    async fn round(&mut self) -> Result<(), StreamError> {
        let hub = self.hub.clone();
        // Asked anew each time: there may be another server behind the address.
        let features = hub.redis.ask(|connection| async move { Features::probe(&connection).await }).await?;
        let streams = match &hub.settings.trim_streams {
            TrimStreams::Named(names) => names.clone(),
            TrimStreams::All => hub.redis.ask(|connection| async move { connection.streams().await }).await?,
        };
        self.told.keep(&streams);
        let ended = self.trim_all(&hub, &streams, features).await;
        self.told.show(hub.metrics.as_ref());
        ended
    }

    async fn trim_all(
        &mut self,
        hub: &Hub,
        streams: &[String],
        features: Features,
    ) -> Result<(), StreamError> {
        let policy = &hub.settings.retention;
        for stream in streams.iter().map(String::as_str).filter(|stream| retention::is_trimmed(stream)) {
            if self.renewed.elapsed() > hub.settings.trim_takeover / 3 && !self.hold().await {
                return Ok(());
            }
            let trim =
                |connection| async move { retention::trim(&connection, stream, policy, features).await };
            match hub.redis.ask(trim).await {
                Ok(Some(report)) => self.told.tell(stream, &report),
                Ok(None) => self.told.forget(stream),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    metrics::trim_failed();
                    tracing::warn!(stream, %error, "the stream could not be trimmed");
                }
            }
        }
        Ok(())
    }

    /// Gives the lock up, so that another hub need not wait for it.
    async fn leave(&mut self) {
        if self.is_elected {
            let owner = self.owner.as_str();
            let released =
                self.hub.redis.ask(|connection| async move { connection.release_lock(LOCK, owner).await });
            // Nobody else can: its time will be up soon.
            let _ = timeout(RELEASE_TIMEOUT, released).await;
            metrics::elected(false);
        }
    }
}

/// What was told of the groups of each stream, so that each thing is told once.
#[derive(Debug, Default)]
struct Told(HashMap<String, Losses>);

/// What was told of a stream's groups.
#[derive(Debug, Default)]
struct Losses {
    expired: Vec<String>,
    cut: Vec<retention::Cut>,
    /// The expired groups of which a loss was told: on a busy stream they lose something in each round.
    lost: Vec<String>,
}

impl Told {
    fn tell(&mut self, stream: &str, report: &Report) {
        metrics::trimmed(stream, report);
        if report.removed.total() > 0 {
            let (removed, kept_by) = (report.removed, &report.kept_by);
            tracing::info!(stream, ?removed, left = report.length, ?kept_by, "trimmed");
        }
        let told = self.0.entry(stream.to_owned()).or_default();
        for group in report.expired.iter().filter(|group| !told.expired.contains(group)) {
            tracing::warn!(
                stream,
                group,
                "nobody has used this group for GROUP_EXPIRY: entries it has not read are trimmed. Delete it (XGROUP DESTROY) if it is not needed"
            );
        }
        told.lost.retain(|group| report.expired.contains(group));
        for cut in report.cut.iter().filter(|cut| !told.cut.contains(cut)) {
            if !report.expired.contains(&cut.group) {
                tell_cut(stream, cut);
                continue;
            }
            metrics::expired_lost(stream);
            if !told.lost.contains(&cut.group) {
                tell_expired_cut(stream, cut);
                told.lost.push(cut.group.clone());
            }
        }
        (told.expired, told.cut) = (report.expired.clone(), report.cut.clone());
    }

    /// Of a stream that is gone.
    fn forget(&mut self, stream: &str) {
        self.0.remove(stream);
    }

    /// Forgets all other streams.
    fn keep(&mut self, streams: &[String]) {
        self.0.retain(|stream, _| streams.contains(stream));
    }

    /// Shows what is so now.
    fn show(&self, metrics: Option<&Metrics>) {
        let Some(metrics) = metrics else { return };
        metrics.replace("round", || {
            metrics::describe_round();
            for (stream, told) in &self.0 {
                for group in &told.expired {
                    metrics::group("synapse_group_expired", stream, group, 1.0);
                }
                for cut in &told.cut {
                    metrics::group("synapse_group_cut_entries", stream, &cut.group, cut.unread as f64);
                }
            }
        });
    }
}

fn tell_cut(stream: &str, cut: &retention::Cut) {
    let (group, unread, pending_too) = (&cut.group, cut.unread, cut.pending);
    metrics::bitten(stream);
    tracing::error!(
        stream,
        group,
        unread,
        pending_too,
        "a group has lost entries it needed: the stream had reached its hard limit (MAXLEN, or a publisher's own). Its consumers are too slow or away"
    );
}

fn tell_expired_cut(stream: &str, cut: &retention::Cut) {
    let (group, unread, pending_too) = (&cut.group, cut.unread, cut.pending);
    tracing::warn!(
        stream,
        group,
        unread,
        pending_too,
        "a group that nobody has used for GROUP_EXPIRY has lost entries it had not read; what it loses from now on is counted only (synapse_expired_group_losses_total)"
    );
}
