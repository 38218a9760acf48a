use super::*;
use crate::terminal::Terminal;

fn shown(record: &Record) -> String {
    let line = record.as_line("gateway").render(Terminal { colors: false, width: None });
    let (_, rest) = line.split_once("  ").unwrap();
    rest.to_owned()
}

#[test]
fn a_line_of_a_service_keeps_its_time_level_and_fields() {
    let record = Record::of_service(
        r#"{"timestamp":"2026-11-23T09:04:54.436123Z","level":"WARN","target":"synapse_gateway::reader","fields":{"message":"redis is gone","attempt":3,"stream":"model-events"}}"#,
        Level::Info,
    );
    assert_eq!(record.level, Level::Warn);
    assert_eq!(shown(&record), "gateway        WARN   redis is gone  attempt=3  stream=model-events");
    assert_eq!(
        record.as_json("gateway"),
        r#"{"timestamp":"2026-11-23T09:04:54.436123Z","level":"WARN","service":"gateway","message":"redis is gone","attempt":3,"stream":"model-events"}"#
    );
}

#[test]
fn fields_beside_the_message_are_read_as_well() {
    let record = Record::of_service(r#"{"level":"INFO","message":"listening","port":5008}"#, Level::Error);
    assert_eq!(shown(&record), "gateway        INFO   listening  port=5008");
}

#[test]
fn a_field_can_not_replace_what_the_log_says_of_a_line() {
    let record =
        Record::of_service(r#"{"level":"INFO","fields":{"message":"m","service":"other"}}"#, Level::Error);
    assert!(record.as_json("gateway").contains(r#""service":"gateway""#));
}

#[test]
fn what_is_no_json_is_taken_as_it_is() {
    for line in ["thread 'main' panicked at src/main.rs:3:5:", "{\"half\":", "{\"no\":\"level\"}", ""] {
        let record = Record::of_service(line, Level::Error);
        assert_eq!((record.level, record.message.as_str()), (Level::Error, line));
    }
}

#[test]
fn a_line_can_not_steer_the_terminal() {
    let record = Record::of_service("\u{1b}[2Jgone", Level::Info);
    assert_eq!(shown(&record), "gateway        INFO   \\u{1b}[2Jgone");
}

#[test]
fn redis_is_heard_when_it_warns_and_not_when_it_chats() {
    let heard = |line| Record::of_redis(line).map(|record| record.message);
    assert_eq!(heard("29408:M 23 Nov 2026 20:07:53.186 # Server initialized"), None);
    assert_eq!(
        heard("29408:C 23 Nov 2026 20:07:53.185 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo"),
        None
    );
    assert_eq!(heard("29408:signal-handler (1795464474) Received SIGTERM scheduling shutdown..."), None);
    assert_eq!(
        heard("29408:M 23 Nov 2026 20:07:53.186 * DB loaded from append only file: 0.001 seconds"),
        None
    );
    assert_eq!(
        heard("29408:M 23 Nov 2026 20:07:53.186 # Can't save in background: fork: Cannot allocate memory"),
        Some("Can't save in background: fork: Cannot allocate memory".to_owned())
    );
    let long =
        heard("29408:M 23 Nov 2026 20:07:53.186 # WARNING Memory overcommit must be enabled! Without it, …");
    assert!(long.is_some_and(|message| message.contains("sysctl vm.overcommit_memory=1")));
    assert_eq!(
        heard("*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***"),
        Some("*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***".to_owned())
    );
}
