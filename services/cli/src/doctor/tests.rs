use super::*;

const PLAIN: Terminal = Terminal { colors: false, width: Some(60) };

fn finding() -> Finding {
    Finding {
        severity: Severity::Error,
        check: "eviction-policy",
        place: synapse_rs::doctor::Place::default(),
        problem: "the eviction policy is allkeys-lru: redis deletes whole streams when memory is short"
            .to_owned(),
        remedies: vec![
            Remedy::Advice("let publishers wait:".to_owned()),
            Remedy::Setting { name: "maxmemory-policy", value: "noeviction".to_owned() },
        ],
    }
}

fn shown(findings: Vec<Finding>, terminal: Terminal) -> String {
    let diagnosis = Diagnosis { server: Some("Redis 7.0.15".to_owned()), streams: 7, groups: 1, findings };
    let settings = RedisSettings::default();
    report(&diagnosis, &settings, &Commands::of(&settings, false), terminal)
}

#[test]
fn a_finding_says_what_is_wrong_and_what_to_type() {
    assert_eq!(
        shown(vec![finding()], PLAIN),
        "\
error    server: the eviction policy is allkeys-lru: redis
         deletes whole streams when memory is short
         let publishers wait:
           redis-cli CONFIG SET maxmemory-policy noeviction
           and in redis.conf: maxmemory-policy noeviction

Redis 7.0.15 at redis://127.0.0.1:6379/0, 7 streams, 1 group: 1 error
"
    );
}

#[test]
fn a_healthy_server_is_said_to_be_so() {
    assert_eq!(
        shown(Vec::new(), PLAIN),
        "Redis 7.0.15 at redis://127.0.0.1:6379/0, 7 streams, 1 group: all is well\n"
    );
}

#[test]
fn what_others_wrote_does_not_reach_the_terminal_as_it_is() {
    let mut finding = finding();
    finding.place.stream = Some("a\u{1b}[2J".to_owned());
    finding.remedies.push(Remedy::Redis(vec!["XLEN".to_owned(), "a\u{1b}[2J".to_owned()]));
    let shown = shown(vec![finding], PLAIN);
    assert!(!shown.contains('\u{1b}') && shown.contains("[2J"), "{shown:?}");
}

#[test]
fn programs_get_the_same_in_one_object() {
    let json = as_json(&finding(), &Commands::of(&RedisSettings::default(), false));
    assert_eq!((&json["severity"], &json["check"]), (&json!("error"), &json!("eviction-policy")));
    assert_eq!((&json["stream"], &json["group"]), (&Value::Null, &Value::Null));
    assert_eq!(json["remedies"][0], json!({ "advice": "let publishers wait:" }));
    assert_eq!(
        json["remedies"][1],
        json!({
            "command": "redis-cli CONFIG SET maxmemory-policy noeviction",
            "redis_conf": "maxmemory-policy noeviction",
        })
    );
}
