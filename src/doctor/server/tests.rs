use super::{super::Remedy, *};

fn facts(info: &str) -> ServerFacts {
    let mut facts = ServerFacts::default();
    facts.info = Some(crate::stream::ServerInfo::parse(info));
    facts
}

/// The checks of what a server says, but for the limit it does not have here.
fn checks(info: &str) -> Vec<(Severity, &'static str)> {
    let mut findings = Vec::new();
    judge(&facts(&format!("maxmemory:9000000000000\r\n{info}")), &Expectations::default(), &mut findings);
    findings.iter().map(|finding| (finding.severity, finding.check)).collect()
}

#[test]
fn an_append_only_file_that_can_not_be_written_is_an_error_and_its_rewrite_a_warning() {
    assert_eq!(checks("aof_enabled:1\r\naof_last_write_status:ok\r\naof_last_bgrewrite_status:ok\r\n"), []);
    assert_eq!(
        checks("aof_enabled:1\r\naof_last_write_status:err\r\naof_last_bgrewrite_status:err\r\n"),
        [(Severity::Error, "append-only-failing"), (Severity::Warning, "append-only-rewrite")]
    );
    assert_eq!(checks("aof_enabled:0\r\naof_last_write_status:err"), [(Severity::Warning, "append-only")]);
}

#[test]
fn memory_apart_from_what_is_used_matters_only_where_it_is_much() {
    let at = |used: u64, taken: u64| {
        checks(&format!("used_memory:{}\r\nused_memory_rss:{}", used * MIB, taken * MIB))
    };
    assert_eq!(at(1, 200), [], "a small server always looks fragmented");
    assert_eq!(at(1_000, 1_400), []);
    assert_eq!(at(1_000, 1_600), [(Severity::Note, "fragmentation")]);
    assert_eq!(at(1_000, 950), []);
    assert_eq!(at(1_000, 500), [(Severity::Warning, "swapped")]);
    assert_eq!(at(100, 1), [], "so little is soon back");
}

#[test]
fn without_a_limit_of_its_own_the_machines_memory_is_the_limit() {
    let at = |percent: u64| {
        let mut findings = Vec::new();
        let info =
            format!("maxmemory:0\r\ntotal_system_memory:1000000000\r\nused_memory:{}", percent * 10_000_000);
        judge(&facts(&info), &Expectations::default(), &mut findings);
        findings.iter().map(|finding| finding.check).collect::<Vec<_>>()
    };
    assert_eq!(at(10), ["no-maxmemory"]);
    assert_eq!(at(90), ["memory"]);
}

#[test]
fn the_limit_that_is_advised_is_more_than_what_is_used_and_at_most_the_machine_s() {
    let advised = |used: u64| {
        let info =
            format!("maxmemory:0\r\ntotal_system_memory:{}\r\nused_memory:{}", 1_000 * MIB, used * MIB);
        let found = memory(&facts(&info));
        let Some(Remedy::Setting { name: "maxmemory", value }) = found[0].remedies.last() else {
            panic!("{found:?}")
        };
        value.clone()
    };
    assert_eq!([10, 333, 600, 840].map(advised), ["500mb", "500mb", "900mb", "1000mb"]);
}

#[test]
fn a_node_of_a_cluster_is_warned_of() {
    assert_eq!(checks("cluster_enabled:1"), [(Severity::Warning, "cluster")]);
    assert_eq!(checks("cluster_enabled:0"), []);
}

#[test]
fn versions_are_compared_as_numbers_and_valkey_by_what_it_is_compatible_with() {
    let too_old = [(Severity::Error, "too-old")];
    for (version, expected) in
        [("6.0.16", &too_old[..]), ("5.0.7", &too_old), ("6.2.0", &[]), ("7.0.15", &[]), ("10.0.1", &[])]
    {
        assert_eq!(checks(&format!("redis_version:{version}")), expected, "{version}");
    }
    let valkey = facts("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0");
    assert_eq!(valkey.name().as_deref(), Some("Valkey 8.1.0"));
}

#[test]
fn a_clock_counts_as_off_beyond_what_is_tolerated_and_what_asking_took() {
    let off = |server: u64, uncertainty: u64| {
        let clocks = super::super::facts::Clocks {
            server: Duration::from_secs(server),
            ours: Duration::from_secs(1_000),
            uncertainty: Duration::from_secs(uncertainty),
        };
        let mut facts = ServerFacts::default();
        facts.clocks = Some(clocks);
        clock(&facts, &Expectations::default()).map(|finding| finding.problem)
    };
    assert_eq!(off(1_002, 0), None);
    assert_eq!(off(1_005, 3), None);
    assert!(off(1_003, 0).unwrap().contains("3s ahead of"));
    assert!(off(940, 0).unwrap().contains("1m behind"));
}
