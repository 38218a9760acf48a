//! What is asked of the server, once.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::finding::{Finding, Severity};
use crate::{
    retention,
    stream::{
        Connection, ConsumerInfo, DEAD_LETTER_SUFFIX, EntryId, GroupInfo, PendingEntry, ServerInfo,
        StreamError, StreamInfo, idle_groups::Standing,
    },
};

/// The settings that are looked at.
const SETTINGS: [&str; 6] =
    ["save", "appendfsync", "stop-writes-on-bgsave-error", "min-replicas-to-write", "protected-mode", "bind"];
/// How many of the things that could not be checked are named.
const NAMED: usize = 5;
/// How many pending entries of a group are looked at, those appended first.
const PENDING_SAMPLE: usize = 100;

/// The server's clock beside ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// Its time, since 1970.
    pub(super) server: Duration,
    /// Ours in the middle of asking.
    pub(super) ours: Duration,
    /// How far the middle may be off.
    pub(super) uncertainty: Duration,
}

/// What the server says of itself.
#[derive(Debug, Default)]
pub(super) struct ServerFacts {
    pub(super) info: Option<ServerInfo>,
    pub(super) settings: HashMap<&'static str, String>,
    pub(super) clocks: Option<Clocks>,
    pub(super) is_without_password: Option<bool>,
    /// The server's words, and what it would not tell with them.
    unchecked: Vec<(String, Vec<String>)>,
}

impl ServerFacts {
    pub(super) async fn ask(connection: &Connection) -> Result<Self, StreamError> {
        let mut facts = Self::default();
        facts.info = facts.allowed("its state (INFO)", connection.server_info().await)?;
        for name in SETTINGS {
            let answer = connection.server_setting(name).await;
            let Some(value) = facts.allowed("its settings (CONFIG GET)", answer)? else { break };
            facts.settings.extend(value.map(|value| (name, value)));
        }
        let before = since_1970();
        let time = connection.now_ms().await.map(Duration::from_millis);
        let after = since_1970();
        let uncertainty = after.saturating_sub(before) / 2;
        let clocks = |server| Clocks { server, ours: before + uncertainty, uncertainty };
        facts.clocks = facts.allowed("its clock (TIME)", time)?.map(clocks);
        let answer = connection.is_without_password().await;
        facts.is_without_password = facts.allowed("who may use it (ACL GETUSER)", answer)?;
        Ok(facts)
    }

    /// The answer, or `None` where it may not be asked for, which is remembered.
    pub(super) fn allowed<T>(
        &mut self,
        what: &str,
        answer: Result<T, StreamError>,
    ) -> Result<Option<T>, StreamError> {
        match answer {
            Err(StreamError::Refused { reason, .. }) if is_forbidden(&reason) => {
                match self.unchecked.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, all)) if all.iter().any(|known| known == what) => {}
                    Some((_, all)) => all.push(what.to_owned()),
                    None => self.unchecked.push((reason, vec![what.to_owned()])),
                }
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// One finding for each way in which the server would not tell.
    pub(super) fn report_unchecked(&self, findings: &mut Vec<Finding>) {
        for (reason, all) in &self.unchecked {
            let named = all[..all.len().min(NAMED)].join(", ");
            let what = match all.len().saturating_sub(NAMED) {
                0 => named,
                more => format!("{named} and {more} more"),
            };
            let problem = format!("{what} could not be checked: redis answers {reason}");
            findings.push(Finding::new(Severity::Note, "unchecked", problem));
        }
    }

    /// The field of `INFO` as a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.info.as_ref()?.number(name)
    }

    /// Whether a field of `INFO` says this.
    pub(super) fn says(&self, name: &str, value: &str) -> bool {
        self.info.as_ref().is_some_and(|info| info.says(name, value))
    }

    /// The version of Redis that it is, or is compatible with: major and minor.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.info.as_ref()?.text("redis_version")?.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// Its name and version.
    pub(super) fn name(&self) -> Option<String> {
        let info = self.info.as_ref()?;
        match info.text("valkey_version") {
            Some(version) => Some(format!("Valkey {version}")),
            None => info.text("redis_version").map(|version| format!("Redis {version}")),
        }
    }

    /// The server's time, which entry ids are made of; ours where it does not tell.
    pub(super) fn now(&self) -> Duration {
        self.clocks.map_or_else(since_1970, |clocks| clocks.server)
    }
}

/// A stream and its groups.
#[derive(Debug)]
pub(super) struct StreamFacts {
    pub(super) name: String,
    pub(super) info: StreamInfo,
    pub(super) expires_in: Option<Duration>,
    pub(super) groups: Vec<GroupFacts>,
}

/// A group and its consumers.
#[derive(Debug)]
pub(super) struct GroupFacts {
    pub(super) info: GroupInfo,
    /// How long nobody has used it though something waits, as far as those who trim have noted.
    pub(super) idle: Duration,
    pub(super) consumers: Vec<ConsumerInfo>,
    /// The first entry that it has not been given.
    pub(super) first_unread: Option<EntryId>,
    /// The pending entries that were appended first.
    pub(super) pending: Vec<PendingEntry>,
}

impl StreamFacts {
    /// All streams of the database.
    pub(super) async fn ask_all(
        connection: &Connection,
        server: &mut ServerFacts,
        progress: &mut impl FnMut(usize, usize),
    ) -> Result<Vec<Self>, StreamError> {
        let names = connection.streams().await;
        let names = server.allowed("its streams (SCAN)", names)?.unwrap_or_default();
        let mut streams = Vec::new();
        for (done, name) in names.iter().enumerate() {
            progress(done, names.len());
            let stream = Self::ask(connection, name, server).await;
            // It may have been deleted since it was listed.
            streams.extend(server.allowed(name, stream)?.flatten());
        }
        Ok(streams)
    }

    async fn ask(
        connection: &Connection,
        name: &str,
        server: &mut ServerFacts,
    ) -> Result<Option<Self>, StreamError> {
        let Some(info) = connection.extent(name).await? else { return Ok(None) };
        let expires_in = connection.expires_in(name).await;
        let expires_in = server.allowed("expiry of streams (PTTL)", expires_in)?.flatten();
        let standings = match connection.standings(name).await {
            // Whatever else lies there, nothing is known of them.
            Err(error) if error.code() == Some("WRONGTYPE") => HashMap::new(),
            standings => {
                server.allowed("since when groups are idle (HGETALL)", standings)?.unwrap_or_default()
            }
        };
        let mut groups = Vec::new();
        for group in connection.groups(name).await? {
            let before = standings.get(&group.name);
            match GroupFacts::ask(connection, name, &info, group, before, server.now()).await {
                Err(error) if error.code() == Some("NOGROUP") => {}
                group => groups.push(group?),
            }
        }
        Ok(Some(Self { name: name.to_owned(), info, expires_in, groups }))
    }

    /// Whether it holds dead letters.
    pub(super) fn is_dead_letters(&self) -> bool {
        self.name.ends_with(DEAD_LETTER_SUFFIX)
    }
}

impl GroupFacts {
    async fn ask(
        connection: &Connection,
        stream: &str,
        extent: &StreamInfo,
        info: GroupInfo,
        before: Option<&Standing>,
        now: Duration,
    ) -> Result<Self, StreamError> {
        let consumers = connection.consumers(stream, &info.name).await?;
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let idle = retention::idle(extent, &info, &consumers, before, now_ms);
        let pending = match info.pending {
            0 => Vec::new(),
            _ => connection.pending_entries(stream, &info.name, PENDING_SAMPLE).await?,
        };
        let first_unread = if info.last_delivered_id < extent.last_generated_id {
            let from = info.last_delivered_id.next();
            connection.range(stream, from, EntryId::MAX, 1).await?.first().map(|entry| entry.id)
        } else {
            None
        };
        Ok(Self { info, idle, consumers, first_unread, pending })
    }

    /// Whether anything waits or is pending.
    pub(super) fn is_behind(&self) -> bool {
        self.first_unread.is_some() || self.info.pending > 0
    }
}

/// Whether the server does not let us ask: an access list, or a command that was taken away.
fn is_forbidden(reason: &str) -> bool {
    reason.starts_with("NOPERM")
        || reason.contains("unknown command")
        || reason.contains("unknown subcommand")
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
