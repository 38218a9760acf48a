//! What is wrong with groups and their consumers.

use super::*;

#[test]
fn a_group_that_nobody_reads_in_is_found_while_something_waits() {
    let server = healthy().start();
    run(&server, "XGROUP CREATE model-events readers 0 MKSTREAM");
    run(&server, "XGROUP CREATE model-events realtime-gateway 0");
    assert_finds(&server, &[]);
    run(&server, "XADD model-events * event x");
    assert_finds(&server, &["warning no-consumers model-events readers"]);
}

#[test]
fn a_group_that_does_not_keep_up_is_found() {
    let server = healthy().start();
    run(&server, "XGROUP CREATE model-events readers 0 MKSTREAM");
    run(&server, "XGROUP CREATE model-events realtime-gateway 0");
    run(&server, "XGROUP CREATECONSUMER model-events readers one");
    run(&server, "XADD model-events * event x");
    assert_finds(&server, &[]);
    let_pass(&server, Duration::from_millis(5));
    let behind = ["warning behind model-events readers", "warning behind model-events realtime-gateway"];
    assert_finds_with(&server.url(), &["--hangs-after", "1ms"], &behind);
}

/// One entry that a consumer has been given and has not acknowledged.
fn with_one_pending() -> RedisServer {
    let server = healthy().start();
    run(&server, "XADD model-events * event x");
    run(&server, "XGROUP CREATE model-events readers 0");
    run(&server, "XREADGROUP GROUP readers one STREAMS model-events >");
    server
}

#[test]
fn a_consumer_that_died_with_entries_in_hand_is_found() {
    let server = with_one_pending();
    assert_finds(&server, &[]);
    until(&server, "XPENDING model-events readers IDLE 20 - + 1", |pending| pending.contains("one"));
    let dead = ["warning dead-consumer model-events readers one"];
    assert_finds_with(&server.url(), &["--hangs-after", "20ms"], &dead);
}

#[test]
fn an_entry_that_a_running_consumer_has_forgotten_is_found() {
    let server = with_one_pending();
    run(&server, "XADD model-events 9-0 event x".replace("9-0", "*").as_str());
    // Ten minutes without a try, by a consumer that has just asked for more.
    let Answer::Array(entries) = run(&server, "XRANGE model-events - +") else { panic!("no entries") };
    let (id, _): (String, Vec<String>) = redis::from_redis_value(entries[0].clone()).unwrap();
    run(&server, &format!("XCLAIM model-events readers one 0 {id} IDLE 600000 JUSTID"));
    assert_finds(&server, &["warning stuck model-events readers"]);
    run(&server, &format!("XCLAIM model-events readers one 0 {id} RETRYCOUNT 50"));
    assert_finds(&server, &["warning many-deliveries model-events readers"]);
    run(&server, &format!("XACK model-events readers {id}"));
    assert_finds(&server, &[]);
}

#[test]
fn entries_that_were_trimmed_before_they_were_read_are_found() {
    let server = healthy().start();
    run(&server, "XGROUP CREATE model-events readers 0 MKSTREAM");
    run(&server, "XGROUP CREATECONSUMER model-events readers one");
    run(&server, "XADD model-events 1577836800000-0 event x");
    run(&server, "XREADGROUP GROUP readers one STREAMS model-events >");
    run(&server, "XACK model-events readers 1577836800000-0");
    for _ in 0..5 {
        run(&server, "XADD model-events MAXLEN 2 * event x");
    }
    assert_finds(&server, &["error trimmed-unread model-events readers"]);
    let said = stdout(&doctor(&server.url(), &[]));
    assert!(said.contains("3 entries trimmed away unread"), "{said}");
    run(&server, "XREADGROUP GROUP readers one STREAMS model-events >");
    assert_finds(&server, &[]);
    run(&server, "XTRIM model-events MAXLEN 1");
    assert_finds(&server, &["error trimmed-pending model-events readers"]);
}

#[test]
fn a_new_group_on_a_stream_that_was_trimmed_has_lost_nothing() {
    let server = healthy().start();
    for _ in 0..20 {
        run(&server, "XADD model-events MAXLEN 5 * event x");
    }
    run(&server, "XGROUP CREATE model-events readers 0");
    run(&server, "XGROUP CREATECONSUMER model-events readers one");
    run(&server, "XGROUP CREATE model-events realtime-gateway 0");
    assert_finds(&server, &["note trimmed-unread model-events readers"]);
    // The gateway's group has not lost anything either once redis counts for it.
    run(&server, "XGROUP DESTROY model-events readers");
    run(&server, "XREADGROUP GROUP realtime-gateway one COUNT 1 STREAMS model-events >");
    run(&server, "XTRIM model-events MAXLEN 1");
    let (found, _) = findings_with(&server.url(), &[]);
    assert!(found.iter().all(|finding| !finding.contains("trimmed-unread")), "{found:?}");
}

#[test]
fn a_group_that_trimming_does_not_wait_for_is_told_apart() {
    let server = healthy().start();
    for _ in 0..20 {
        run(&server, "XADD model-events MAXLEN 5 * event x");
    }
    run(&server, "XGROUP CREATE model-events gone 0");
    for (standing, expected) in [
        ("1577836800000 0-0 -", "warning expired model-events gone"),
        ("1577836800000 1-0 -", "note trimmed-unread model-events gone"),
    ] {
        let mut note = redis::cmd("HSET");
        note.arg("synapse:idle-groups:model-events").arg("gone").arg(standing);
        note.exec(&mut server.connection()).unwrap();
        let (found, _) = findings_with(&server.url(), &[]);
        let of_its_loss: Vec<_> = found.iter().filter(|finding| !finding.contains("no-consumers")).collect();
        assert_eq!(of_its_loss, [expected]);
    }
}

#[test]
fn whatever_lies_at_the_lock_of_those_who_trim_is_found() {
    let server = healthy().start();
    run(&server, "SET synapse:trimmer a-hub PX 60000");
    assert_finds(&server, &[]);
    run(&server, "PERSIST synapse:trimmer");
    assert_finds(&server, &["error trim-lock"]);
    run(&server, "DEL synapse:trimmer");
    run(&server, "LPUSH synapse:trimmer x");
    assert_finds(&server, &["error trim-lock"]);
}

#[test]
fn a_group_whose_lag_redis_does_not_know_is_noted() {
    let server = healthy().start();
    for id in ["1", "2", "3", "4"] {
        run(
            &server,
            &format!("XADD model-events 999999999999{id}-0 event x").replace("999999999999", "179542469444"),
        );
    }
    run(&server, "XGROUP CREATE model-events readers 0");
    run(&server, "XREADGROUP GROUP readers one COUNT 1 STREAMS model-events >");
    run(&server, "XACK model-events readers 1795424694441-0");
    run(&server, "XDEL model-events 1795424694443-0");
    let patient = ["--hangs-after", "9000d", "--retention", "9000d"];
    assert_finds_with(&server.url(), &patient, &["note lag-unknown model-events readers"]);
}

#[test]
fn consumers_that_were_left_behind_are_noted() {
    let server = healthy().start();
    run(&server, "XGROUP CREATE model-events readers 0 MKSTREAM");
    for number in 0..21 {
        run(&server, &format!("XGROUP CREATECONSUMER model-events readers host-{number}"));
    }
    assert_finds(&server, &[]);
    let_pass(&server, Duration::from_millis(5));
    assert_finds_with(&server.url(), &["--hangs-after", "1ms"], &["note left-behind model-events readers"]);
}
