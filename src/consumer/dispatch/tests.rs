//! Several processes, each with a dispatcher, against a model of a group's pending list.

mod world;

use proptest::prelude::*;

use super::*;
use world::*;

fn step() -> impl Strategy<Value = Step> {
    let process = 0..PROCESSES;
    let saying = prop_oneof![
        4 => Just(Saying::Done),
        3 => Just(Saying::Failed),
        1 => Just(Saying::Permanent),
        1 => Just(Saying::Released),
        1 => Just(Saying::Untried),
    ];
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Append),
        4 => (process.clone(), 1..6_usize).prop_map(|(process, count)| Step::Read(process, count)),
        4 => (process.clone(), 1..4_usize).prop_map(|(process, count)| Step::Take(process, count)),
        6 => (process.clone(), 0..8_usize, saying).prop_map(|(process, which, saying)| Step::Answer(process, which, saying)),
        4 => process.clone().prop_map(Step::Work),
        3 => process.clone().prop_map(Step::TakeOver),
        3 => (1..40_u64).prop_map(Step::Pass),
        2 => process.clone().prop_map(Step::Kill),
        1 => process.prop_map(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_entry_ends_handled_or_dead_for_a_reason_and_in_order_per_key(
        steps in proptest::collection::vec(step(), 1..150)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
        for id in world.entries.keys() {
            prop_assert!(world.acknowledged.contains(id) || world.dead.contains_key(id), "{id} was lost");
        }
    }
}

/// A process of its own, with these entries read.
fn world_of(keys: &[u8]) -> World {
    let mut world = World::new();
    for key in keys {
        world.step(&Step::Append(*key));
    }
    world.step(&Step::Read(0, keys.len()));
    world
}

fn taken(world: &mut World, count: usize) -> Vec<u64> {
    let before = world.processes[0].out.len();
    world.step(&Step::Take(0, count));
    world.processes[0].out[before..].iter().map(|(id, _)| id.ms).collect()
}

#[test]
fn first_attempts_are_in_stream_order_but_for_a_key_that_is_held_up() {
    let mut world = world_of(&[1, 1, 2, 0, 1]);
    assert_eq!(taken(&mut world, 10), [1, 3, 4]);
    world.step(&Step::Answer(0, 0, Saying::Failed));
    assert_eq!(taken(&mut world, 10), [0; 0], "1 is to be tried again before 2");
    world.step(&Step::Pass(10));
    world.step(&Step::Work(0));
    assert_eq!(taken(&mut world, 10), [1]);
    let last = world.processes[0].out.len() - 1;
    world.step(&Step::Answer(0, last, Saying::Done));
    assert_eq!(taken(&mut world, 10), [2]);
}

#[test]
fn an_entry_at_the_limit_is_tried_alone_before_it_is_given_up() {
    let mut world = world_of(&[0, 0]);
    for _ in 0..MAX_DELIVERIES {
        taken(&mut world, 10);
        world.step(&Step::Kill(0));
        world.step(&Step::Pass(31));
        world.step(&Step::TakeOver(0));
        world.step(&Step::Work(0));
    }
    // Both have been with a dying process three times; now each is alone.
    assert_eq!(taken(&mut world, 10), [1]);
    assert_eq!(taken(&mut world, 10), [0; 0]);
    world.step(&Step::Answer(0, 0, Saying::Done));
    world.step(&Step::Work(0));
    assert_eq!(taken(&mut world, 10), [2]);
    world.step(&Step::Kill(0));
    world.step(&Step::Pass(31));
    world.step(&Step::TakeOver(0));
    world.step(&Step::Work(0));
    assert_eq!(world.dead.keys().map(|id| id.ms).collect::<Vec<_>>(), [2]);
    assert_eq!(world.acknowledged.iter().map(|id| id.ms).collect::<Vec<_>>(), [1]);
}

#[test]
fn many_behind_one_key_are_not_all_kept_in_memory_and_come_in_order() {
    let mut world = world_of(&[1; 50]);
    assert!(world.processes[0].dispatcher.load().1 < 50, "events in memory");
    let mut order = Vec::new();
    while order.len() < 50 {
        let next = taken(&mut world, 10);
        assert!(next.len() <= 1);
        order.extend(next);
        world.step(&Step::Answer(0, 0, Saying::Done));
        world.step(&Step::Work(0));
    }
    assert_eq!(order, (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_pause_holds_everything_back_until_its_end() {
    let mut world = world_of(&[0]);
    let end = world.now + Duration::from_mins(2);
    world.processes[0].dispatcher.pause_until(end);
    assert_eq!(world.processes[0].dispatcher.outlook(world.now), Outlook::At(end));
    assert_eq!(taken(&mut world, 1), [0; 0]);
    world.step(&Step::Pass(120));
    assert_eq!(taken(&mut world, 1), [1]);
}

#[test]
fn others_that_take_too_long_let_nobody_starve() {
    let mut world = world_of(&[0]);
    // Another process died of 2 as often as it may be delivered.
    world.step(&Step::Append(0));
    world.step(&Step::Read(1, 1));
    world.pending.get_mut(&EntryId::new(2, 0)).unwrap().times = MAX_DELIVERIES;
    world.step(&Step::Kill(1));
    taken(&mut world, 1);
    world.step(&Step::Pass(31));
    world.step(&Step::TakeOver(0));
    world.step(&Step::Append(0));
    world.step(&Step::Read(0, 1));
    assert_eq!(taken(&mut world, 1), [0; 0], "2 waits for 1 to end, and 3 for 2");
    world.step(&Step::Pass(31));
    world.step(&Step::Work(0));
    assert_eq!(taken(&mut world, 1), [3], "2 was given back");
    assert!(world.pending[&EntryId::new(2, 0)].is_left);
}

#[test]
fn reading_waits_for_what_is_parked_unless_behind_a_retry_or_behind_one_key_alone() {
    let keys: Vec<u8> =
        (0..2000).map(|n| 1 + n % 20).map(|key| u8::try_from(key).expect("20 keys")).collect();
    let mut world = world_of(&keys);
    let room = |world: &World| world.processes[0].dispatcher.room(1);
    assert_eq!(room(&world), 0, "99 of each key are behind one that can be taken");
    taken(&mut world, 20);
    assert_eq!(room(&world), 0, "or that is with a handler");
    for _ in 0..20 {
        world.step(&Step::Answer(0, 0, Saying::Failed));
    }
    assert_eq!(room(&world), 1000, "others are not to wait for their retries");
    world.step(&Step::Pass(10));
    world.step(&Step::Work(0));
    assert_eq!(room(&world), 0);
    assert_eq!(room(&world_of(&[1; 2000])), 1000, "one key alone does not stop reading for the others");
}
