use proptest::prelude::*;

use super::*;

const HOUR_MS: u64 = 3_600_000;
const NOW_MS: u64 = 1_000 * HOUR_MS;

fn group(name: &str, last: u64, pending: Option<u64>, idle_hours: u64) -> GroupState {
    GroupState {
        name: name.to_owned(),
        last_delivered: EntryId::new(last, 0),
        first_pending: pending.map(|ms| EntryId::new(ms, 0)),
        idle: Duration::from_hours(idle_hours),
        entries_read: None,
        lag: None,
    }
}

fn stream(groups: Vec<GroupState>) -> StreamState {
    let first = Some(EntryId::new(NOW_MS - 100 * HOUR_MS, 0));
    StreamState { now_ms: NOW_MS, length: 1_000, first, entries_added: Some(1_000), groups }
}

fn day() -> RetentionPolicy {
    RetentionPolicy::default()
}

#[test]
fn without_groups_the_retention_is_kept() {
    let plan = plan(&stream(vec![]), &day());
    assert_eq!(plan.before, EntryId::new(NOW_MS - 24 * HOUR_MS, 0));
    assert_eq!((plan.floor, plan.kept_by, plan.acked_is_right), (EntryId::MAX, KeptBy::Age, true));
}

#[test]
fn the_slowest_group_keeps_what_it_has_not_acknowledged() {
    let slow = group("slow", NOW_MS - 2 * HOUR_MS, Some(NOW_MS - 50 * HOUR_MS), 0);
    let plan = plan(&stream(vec![group("fast", NOW_MS, None, 0), slow]), &day());
    assert_eq!(plan.before, EntryId::new(NOW_MS - 50 * HOUR_MS, 0));
    assert_eq!(plan.kept_by, KeptBy::Group("slow".to_owned()));
    assert!(plan.acked_is_right, "both are in the way");
}

#[test]
fn a_group_that_has_read_nothing_keeps_everything() {
    let plan = plan(&stream(vec![group("new", 0, None, 0)]), &day());
    assert_eq!(plan.before, EntryId::MIN);
}

#[test]
fn a_group_that_nobody_uses_is_not_waited_for_and_told() {
    let plan =
        plan(&stream(vec![group("gone", 0, Some(1), 7 * 24), group("there", NOW_MS, None, 0)]), &day());
    assert_eq!(plan.before, plan.too_old);
    assert_eq!((plan.expired, plan.free), (vec!["gone".to_owned()], vec!["gone".to_owned()]));
    assert!(!plan.acked_is_right, "the server would wait for it");
}

#[test]
fn the_gateway_s_group_is_not_in_the_way_nor_reported() {
    let plan = plan(&stream(vec![group(GATEWAY_GROUP, 0, None, 1_000)]), &day());
    assert_eq!((plan.before, plan.expired.len()), (plan.too_old, 0));
    assert!(!plan.acked_is_right);
}

#[test]
fn what_a_publisher_s_limit_has_cut_is_known_by_the_counters() {
    let mut behind = group("behind", NOW_MS - 99 * HOUR_MS, None, 0);
    behind.last_delivered = EntryId::new(1, 0);
    behind.entries_read = Some(100);
    let mut cut = stream(vec![behind]);
    cut.entries_added = Some(1_500);
    let expected = Cut { group: "behind".to_owned(), unread: 400, pending: false };
    assert_eq!(cuts(&cut, &cut, 0, &[]), [expected]);
}

#[test]
fn pending_entries_that_are_gone_are_reported() {
    let state = stream(vec![group("g", NOW_MS, Some(1), 0)]);
    let expected = Cut { group: "g".to_owned(), unread: 0, pending: true };
    assert_eq!(cuts(&state, &state, 0, &[]), [expected]);
    assert!(cuts(&state, &stream(vec![]), 0, &[]).is_empty());
}

#[test]
fn what_the_hard_limit_or_age_has_just_cut_is_known_by_the_lag() {
    let mut before = stream(vec![group("g", 0, None, 0)]);
    before.groups[0].lag = Some(1_000);
    let mut after = before.clone();
    after.length = 600;
    assert_eq!(cuts(&before, &after, 1, &[])[0].unread, 400);
    assert_eq!(cuts(&before, &after, 0, &["g".to_owned()])[0].unread, 400);
    assert!(cuts(&before, &after, 0, &[]).is_empty(), "somebody else may have trimmed what nobody needs");
}

fn any_group() -> impl Strategy<Value = GroupState> {
    let name = prop_oneof![Just(GATEWAY_GROUP), Just("a"), Just("b"), Just("c")];
    (name, 0..NOW_MS, prop::option::of(0..NOW_MS), 0..400_u64)
        .prop_map(|(name, last, pending, idle)| group(name, last, pending, idle))
}

proptest! {
    #[test]
    fn nothing_that_a_group_needs_and_nothing_young_goes(
        groups in prop::collection::vec(any_group(), 0..6),
        retention_hours in 0..2_000_u64,
    ) {
        let policy = RetentionPolicy { retention: Duration::from_hours(retention_hours), ..day() };
        let state = stream(groups);
        let plan = plan(&state, &policy);
        prop_assert!(plan.before <= EntryId::new(NOW_MS.saturating_sub(retention_hours * HOUR_MS), 0));
        let mut needed = Vec::new();
        for group in &state.groups {
            if group.name != GATEWAY_GROUP && group.idle < policy.group_expiry {
                prop_assert!(plan.before <= group.last_delivered);
                prop_assert!(group.first_pending.is_none_or(|pending| plan.before <= pending));
                prop_assert!(plan.floor <= group.last_delivered);
                needed.push(group.needs_from());
            }
        }
        // And no more is kept than that.
        let expected = needed.into_iter().min().unwrap_or(EntryId::MAX).min(plan.too_old);
        prop_assert_eq!(plan.before, expected);
        prop_assert_eq!(plan.kept_by == KeptBy::Age, plan.floor >= plan.too_old);
    }

    #[test]
    fn where_the_server_s_own_rule_is_used_it_spares_nothing_that_ours_lets_go(
        groups in prop::collection::vec(any_group(), 0..6),
    ) {
        let state = stream(groups);
        let plan = plan(&state, &day());
        let server_keeps_from = state.groups.iter().map(GroupState::needs_from).min().unwrap_or(EntryId::MAX);
        if plan.acked_is_right {
            prop_assert!(server_keeps_from.min(plan.too_old) >= plan.before);
        }
    }
}
