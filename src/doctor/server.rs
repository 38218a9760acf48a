//! The server: what it would lose, what it refuses, how near its limits it is.

use std::time::Duration;

use super::{
    Expectations, OLDEST_REDIS, counted,
    facts::ServerFacts,
    finding::{Finding, Severity},
    span,
};

const MIB: u64 = 1 << 20;
/// Of the memory it may take; beyond it publishers may soon have to wait.
const MEMORY_PERCENT: u64 = 85;
/// Smaller differences between what is used and what is taken are of no interest.
const MEMORY_MATTERS: u64 = 256 * MIB;
/// Of the connections it may have.
const CONNECTIONS_PERCENT: u64 = 90;
/// A replica that lags more would lose as much in a fail-over.
const REPLICA_LAG_SECONDS: u64 = 10;

/// Judges all of it.
pub(super) fn judge(facts: &ServerFacts, expected: &Expectations, findings: &mut Vec<Finding>) {
    let all = [version, persistence, snapshots, eviction, memory, connections, replication, access];
    findings.extend(all.iter().flat_map(|check| check(facts)));
    findings.extend(clock(facts, expected));
}

fn version(facts: &ServerFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.version().is_some_and(|version| version < OLDEST_REDIS) {
        let name = facts.name().unwrap_or_default();
        let problem = format!(
            "{name} is too old: entries of dead consumers can't be taken over; the streams were not looked at"
        );
        let finding = Finding::new(Severity::Error, "too-old", problem);
        found.push(finding.advice("upgrade to Redis 6.2 or later, or to Valkey"));
    }
    if facts.says("cluster_enabled", "1") {
        let problem =
            "it is part of a cluster, which is not supported yet: streams on other nodes are not seen";
        found.push(Finding::new(Severity::Warning, "cluster", problem).advice("use a single server"));
    }
    found
}

/// The append-only file.
fn persistence(facts: &ServerFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    if facts.says("aof_enabled", "0") {
        found.push(append_only_off(facts));
        return found;
    }
    if facts.settings.get("appendfsync").is_some_and(|fsync| fsync == "no") {
        let problem = "appendfsync is no: a power loss takes all that the system has not written by itself, 30 s and more";
        found.push(
            Finding::new(Severity::Warning, "appendfsync", problem)
                .advice("lose a second at most:")
                .setting("appendfsync", "everysec"),
        );
    }
    if facts.says("aof_last_write_status", "err") {
        let problem = "its append-only file can't be written: events are refused until it can (MISCONF)";
        let advice = "make room on its disk; its log has the system's reason:";
        found.push(
            Finding::new(Severity::Error, "append-only-failing", problem)
                .advice(advice)
                .redis(&["CONFIG", "GET", "dir"]),
        );
    }
    if facts.says("aof_last_bgrewrite_status", "err") {
        let problem = "the last rewrite of its append-only file failed: the file grows without bound";
        found.push(
            Finding::new(Severity::Warning, "append-only-rewrite", problem)
                .advice("make room on its disk and in its memory, then:")
                .redis(&["BGREWRITEAOF"]),
        );
    }
    found
}

fn append_only_off(facts: &ServerFacts) -> Finding {
    let (severity, problem) = match facts.settings.get("save").map(String::as_str) {
        Some("") => (Severity::Error, "persistence is off: a restart of redis loses every event"),
        Some(_) => (
            Severity::Warning,
            "the append-only file is off: a crash loses all events since the last snapshot",
        ),
        None => (
            Severity::Warning,
            "the append-only file is off: a crash loses all events since the last snapshot, if it makes any",
        ),
    };
    Finding::new(severity, "append-only", problem).setting("appendonly", "yes")
}

/// Snapshots, by the server's own schedule or anyone's BGSAVE.
fn snapshots(facts: &ServerFacts) -> Vec<Finding> {
    if !facts.says("rdb_last_bgsave_status", "err") {
        return Vec::new();
    }
    let setting = |name| facts.settings.get(name).map_or("", String::as_str);
    let refuses = !setting("save").is_empty() && setting("stop-writes-on-bgsave-error") == "yes";
    let (severity, problem) = if refuses {
        (Severity::Error, "its last snapshot failed: events are refused until one succeeds (MISCONF)")
    } else {
        (Severity::Warning, "its last snapshot failed")
    };
    let finding = Finding::new(severity, "snapshot-failing", problem)
        .advice("make room on its disk and in its memory (its log has the reason), then:")
        .redis(&["BGSAVE"]);
    vec![finding]
}

fn eviction(facts: &ServerFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    let policy = facts.info.as_ref().and_then(|info| info.text("maxmemory_policy")).unwrap_or("noeviction");
    if policy != "noeviction" {
        let (severity, deletes) = if policy.starts_with("allkeys") {
            (Severity::Error, "whole streams, read or not, and their groups")
        } else {
            (Severity::Warning, "keys that have an expiry, a stream among them with its groups")
        };
        let problem =
            format!("the eviction policy is {policy}: when memory is short, redis deletes {deletes}");
        found.push(
            Finding::new(severity, "eviction-policy", problem)
                .advice("let publishers wait instead:")
                .setting("maxmemory-policy", "noeviction"),
        );
    }
    let evicted = facts.number("evicted_keys").unwrap_or(0);
    if evicted > 0 {
        let keys = counted(evicted, "key");
        let problem = format!("it has deleted {keys} for want of memory since it started, maybe streams");
        found.push(
            Finding::new(Severity::Warning, "evicted", problem)
                .advice("give it more memory; once seen, start the count anew:")
                .redis(&["CONFIG", "RESETSTAT"]),
        );
    }
    found
}

fn memory(facts: &ServerFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    let used = facts.number("used_memory").unwrap_or(0);
    let most = facts.number("maxmemory").unwrap_or(0);
    let machine = facts.number("total_system_memory").unwrap_or(0);
    let limit = if most > 0 { most } else { machine };
    let percent = used.saturating_mul(100).checked_div(limit).unwrap_or(0);
    if percent >= MEMORY_PERCENT {
        let of = if most > 0 { "maxmemory" } else { "the machine's memory" };
        let severity = if percent >= 100 { Severity::Error } else { Severity::Warning };
        let then = if most > 0 { "publishers wait" } else { "the system ends redis" };
        let problem = format!(
            "{percent} % of {of} is used ({} of {} MiB): at the limit {then}",
            used / MIB,
            limit / MIB
        );
        found.push(
            Finding::new(severity, "memory", problem)
                .advice("keep less, or give it more memory (maxmemory); what takes it:")
                .synapse(&["streams"]),
        );
    } else if most == 0 && facts.info.is_some() {
        let problem = "maxmemory is not set: redis grows until the system ends it";
        let mut finding = Finding::new(Severity::Note, "no-maxmemory", problem);
        if machine > 0 {
            // Less than what is used would stop publishers at once.
            let (half, room) = (machine / 2, used.saturating_add(used / 2).min(machine));
            let advice = if half >= room {
                "with redis alone on its machine, half of its memory:"
            } else {
                "with redis alone on its machine, half as much again as is used; it needs a larger one soon:"
            };
            finding = finding.advice(advice).setting("maxmemory", format!("{}mb", half.max(room) / MIB));
        }
        found.push(finding);
    }
    found.extend(fragmentation(facts, used));
    found
}

/// Memory that it takes from the system and memory that it uses, apart.
fn fragmentation(facts: &ServerFacts, used: u64) -> Option<Finding> {
    let taken = facts.number("used_memory_rss")?;
    if taken.saturating_sub(used) > MEMORY_MATTERS && taken > used + used / 2 {
        let problem = format!(
            "its memory is fragmented: it uses {} MiB and takes {} MiB from the system",
            used / MIB,
            taken / MIB
        );
        let finding = Finding::new(Severity::Note, "fragmentation", problem);
        return Some(finding.advice("give back what it can:").redis(&["MEMORY", "PURGE"]));
    }
    if used.saturating_sub(taken) > MEMORY_MATTERS && taken < used - used / 10 {
        let problem = format!(
            "part of it is swapped out: it uses {} MiB, {} MiB of them in memory; every command may wait for the disk",
            used / MIB,
            taken / MIB
        );
        let finding = Finding::new(Severity::Warning, "swapped", problem);
        return Some(finding.advice("give the machine more memory, or redis less (maxmemory)"));
    }
    None
}

fn connections(facts: &ServerFacts) -> Vec<Finding> {
    let Some((open, most)) = facts.number("connected_clients").zip(facts.number("maxclients")) else {
        return Vec::new();
    };
    if open.saturating_mul(100) < most.saturating_mul(CONNECTIONS_PERCENT) {
        return Vec::new();
    }
    let problem = format!("{open} of at most {most} connections are open: at the limit new ones are refused");
    let finding = Finding::new(Severity::Warning, "connections", problem)
        .advice("see whose they are; if all are meant, allow more:")
        .redis(&["CLIENT", "LIST"])
        .setting("maxclients", most.saturating_mul(2).to_string());
    vec![finding]
}

fn replication(facts: &ServerFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    let Some(info) = &facts.info else { return found };
    if info.says("role", "slave") {
        let master = format!(
            "{}:{}",
            info.text("master_host").unwrap_or("?"),
            info.text("master_port").unwrap_or("?")
        );
        let problem = format!(
            "it is a replica of {master}: events are refused (READONLY), and nothing can be acknowledged"
        );
        found.push(
            Finding::new(Severity::Error, "replica", problem)
                .advice(format!("give {master} as REDIS_URL instead")),
        );
        return found;
    }
    let replicas = facts.number("connected_slaves").unwrap_or(0);
    let lines = (0..replicas).filter_map(|index| info.text(&format!("slave{index}")));
    for replica in lines.filter(|line| is_behind(line)) {
        let problem = format!("a replica is behind ({replica}): a fail-over to it loses events");
        let advice = "see to the network between them and to the replica's load";
        found.push(Finding::new(Severity::Warning, "replica-behind", problem).advice(advice));
    }
    if replicas > 0 && facts.settings.get("min-replicas-to-write").is_some_and(|least| least == "0") {
        let problem =
            "it takes events also while no replica has them: a fail-over may lose those it acknowledged last";
        found.push(
            Finding::new(Severity::Note, "fail-over", problem)
                .advice("let publishers wait for a replica instead:")
                .setting("min-replicas-to-write", "1"),
        );
    }
    found
}

/// Of a line such as `ip=10.0.0.2,port=6379,state=online,offset=14,lag=0`.
fn is_behind(replica: &str) -> bool {
    let part = |name: &str| replica.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let lag: u64 = part("lag").and_then(|lag| lag.parse().ok()).unwrap_or(0);
    part("state") != Some("online") || lag > REPLICA_LAG_SECONDS
}

fn access(facts: &ServerFacts) -> Vec<Finding> {
    let is_open = facts.settings.get("protected-mode").is_some_and(|mode| mode == "no");
    let is_loopback = |address: &str| {
        let address = address.trim_start_matches('-');
        address.starts_with("127.") || address == "::1" || address == "localhost"
    };
    let listens_beyond =
        facts.settings.get("bind").is_none_or(|bind| bind.is_empty() || !bind.split(' ').all(is_loopback));
    if !is_open || !listens_beyond || facts.is_without_password != Some(true) {
        return Vec::new();
    }
    let problem = "whoever reaches its port may read and delete everything: it wants no password and protected-mode is off";
    let finding = Finding::new(Severity::Note, "no-password", problem)
        .advice("unless only the platform reaches it, set a password (and REDIS_PASSWORD for each service):")
        .setting("requirepass", "…");
    vec![finding]
}

/// Entry ids are made of the server's clock, ages are reckoned by ours.
fn clock(facts: &ServerFacts, expected: &Expectations) -> Option<Finding> {
    let clocks = facts.clocks?;
    let apart = clocks.server.abs_diff(clocks.ours);
    if apart <= expected.clock_tolerance + clocks.uncertainty {
        return None;
    }
    let (side, effect) = if clocks.server > clocks.ours { ("ahead of", "late") } else { ("behind", "early") };
    let problem = format!(
        "its clock is {} {side} this machine's: what goes by time (retention, tokens, --after 10m) comes too {effect}",
        span(rounded(apart))
    );
    let finding = Finding::new(Severity::Warning, "clock", problem);
    Some(finding.advice("set both machines' clocks by NTP: timedatectl set-ntp true"))
}

fn rounded(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs() + u64::from(span.subsec_millis() >= 500))
}

#[cfg(test)]
mod tests;
