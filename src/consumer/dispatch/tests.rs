//! Several processes, each with a dispatcher, against a model of a group's pending list.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const MAX_DELIVERIES: u32 = 3;
const MIN_IDLE: Duration = Duration::from_secs(30);
const PROCESSES: usize = 3;

/// What happens, to which process.
#[derive(Clone, Debug)]
enum Step {
    /// An entry of this key is appended; 0 for none.
    Append(u8),
    Read(usize, usize),
    Take(usize, usize),
    /// One of the entries that its handlers have, by number, is answered.
    Answer(usize, usize, Saying),
    /// Its tasks do what there is to do.
    Work(usize),
    TakeOver(usize),
    Pass(u64),
    /// The process dies, as by its handler.
    Kill(usize),
    /// The process ends in order.
    Close(usize),
}

#[derive(Clone, Copy, Debug)]
enum Saying {
    Done,
    Failed,
    Permanent,
    Released,
}

/// An entry of the group's pending list.
#[derive(Clone, Debug)]
struct Pending {
    owner: u32,
    times: u32,
    touched: Instant,
    is_released: bool,
    /// Given back, but not to be had at once.
    is_left: bool,
}

struct Process {
    name: u32,
    dispatcher: Dispatcher,
    /// What its handlers have.
    out: Vec<(EntryId, u32)>,
    /// Bells that were rung and not heard yet.
    rung: Wakes,
    /// A handler has found nothing and waits for its bell, or for a time.
    asleep_until: Option<Outlook>,
}

impl Process {
    /// Notes the bells that were rung.
    fn listen(&mut self) {
        let wakes = self.dispatcher.take_wakes();
        self.rung.taker |= wakes.taker;
        self.rung.reader |= wakes.reader;
        self.rung.clerk |= wakes.clerk;
        self.rung.retrier |= wakes.retrier;
        self.rung.undertaker |= wakes.undertaker;
    }
}

struct World {
    now: Instant,
    names: u32,
    /// Key by id.
    entries: BTreeMap<EntryId, u8>,
    delivered: EntryId,
    pending: BTreeMap<EntryId, Pending>,
    acknowledged: BTreeSet<EntryId>,
    dead: BTreeMap<EntryId, &'static str>,
    /// Whether a handler ever failed at it or refused it.
    failed: BTreeMap<EntryId, u32>,
    /// Entries that were alone with their process when it died.
    killers: BTreeSet<EntryId>,
    processes: Vec<Process>,
}

/// What is in hand, settled or not.
fn both(dispatcher: &Dispatcher) -> impl Iterator<Item = EntryId> + use<> {
    let (unsettled, settled) = (dispatcher.of_stream(0, false), dispatcher.of_stream(0, true));
    unsettled.into_iter().chain(settled)
}

fn place(id: EntryId) -> Place {
    Place { stream: 0, id }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: Instant::now(),
            names: 0,
            entries: BTreeMap::new(),
            delivered: EntryId::MIN,
            pending: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            dead: BTreeMap::new(),
            failed: BTreeMap::new(),
            killers: BTreeSet::new(),
            processes: Vec::new(),
        };
        for _ in 0..PROCESSES {
            let process = world.process();
            world.processes.push(process);
        }
        world
    }

    fn process(&mut self) -> Process {
        self.names += 1;
        let rules = Rules {
            max_deliveries: MAX_DELIVERIES,
            backoff: (Duration::from_secs(1), Duration::from_secs(8)),
            patience: MIN_IDLE,
            batch: 1000,
            bytes: usize::MAX,
            in_hand: usize::MAX,
        };
        Process {
            name: self.names,
            dispatcher: Dispatcher::new(1, rules, self.now),
            out: Vec::new(),
            rung: Wakes::default(),
            asleep_until: None,
        }
    }

    fn content(&self, id: EntryId, deliveries: u32) -> Content {
        let key = match self.entries[&id] {
            0 => None,
            key => Some(Arc::from(key.to_string())),
        };
        let parcel = Parcel { place: place(id), deliveries, body: Body::Event(Event::default()) };
        Content::Parcel { parcel, key, size_bytes: 1 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(key) => {
                let id = EntryId::new(1 + self.entries.len() as u64, 0);
                self.entries.insert(id, key);
            }
            Step::Read(process, count) => self.read(process, count),
            Step::Take(process, count) => self.take(process, count),
            Step::Answer(process, which, saying) => self.answer(process, which, saying),
            Step::Work(process) => self.work(process),
            Step::TakeOver(process) => self.take_over(process),
            Step::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
            Step::Kill(process) => {
                // Whether it was given to a handler by then, nobody can tell who looks at the pending list.
                let name = self.processes[process].name;
                let alone = self
                    .pending
                    .iter()
                    .filter(|(_, pending)| pending.owner == name && pending.times >= ALONE);
                self.killers.extend(alone.map(|(id, _)| *id));
                self.processes[process] = self.process();
            }
            Step::Close(process) => {
                self.processes[process].out.clear();
                self.processes[process].dispatcher.release_all();
                // The last time, all that there is to tell is told.
                (self.processes[process].rung.clerk, self.processes[process].rung.undertaker) = (true, true);
                self.tell(process);
                assert_eq!(self.processes[process].dispatcher.load().2, 0, "nothing is left in hand");
                self.processes[process] = self.process();
            }
        }
        self.processes.iter_mut().for_each(Process::listen);
        self.check();
    }

    fn read(&mut self, process: usize, count: usize) {
        let ids: Vec<_> =
            self.entries.range(self.delivered.next()..).map(|(id, _)| *id).take(count).collect();
        for id in ids {
            self.delivered = id;
            let owner = self.processes[process].name;
            self.pending.insert(
                id,
                Pending { owner, times: 1, touched: self.now, is_released: false, is_left: false },
            );
            let content = self.content(id, 1);
            let dispatcher = &mut self.processes[process].dispatcher;
            assert!(dispatcher.admit(place(id), 1));
            dispatcher.bring(place(id), content);
        }
    }

    fn take(&mut self, process: usize, count: usize) {
        let now = self.now;
        let handler = &mut self.processes[process];
        // Who has found nothing sleeps until its bell is rung, whatever there is by now.
        let is_awake = match handler.asleep_until {
            Some(Outlook::At(time)) => handler.rung.taker || time <= now,
            Some(_) => handler.rung.taker,
            None => true,
        };
        if !is_awake {
            return;
        }
        handler.rung.taker = false;
        let taken = handler.dispatcher.take(now, count, false);
        handler.listen();
        handler.asleep_until = taken.is_empty().then(|| handler.dispatcher.outlook(now));
        for Parcel { place, deliveries, .. } in taken {
            let key = self.entries[&place.id];
            let process = &mut self.processes[process];
            assert!(process.out.iter().all(|(id, _)| *id != place.id), "with two handlers at once");
            let same_key = process.out.iter().filter(|(id, _)| key != 0 && self.entries[id] == key);
            let is_lone = deliveries > MAX_DELIVERIES;
            assert!(is_lone || same_key.count() == 0, "two of a key with handlers at once");
            if is_lone {
                assert!(process.out.is_empty(), "not alone");
            }
            process.out.push((place.id, deliveries));
        }
    }

    fn answer(&mut self, process: usize, which: usize, saying: Saying) {
        let Process { dispatcher, out, .. } = &mut self.processes[process];
        if out.is_empty() {
            return;
        }
        let (id, _) = out.swap_remove(which % out.len());
        if matches!(saying, Saying::Failed | Saying::Permanent) {
            *self.failed.entry(id).or_default() += 1;
        }
        let error = "no".to_owned();
        let verdict = match saying {
            Saying::Done => Verdict::Done,
            Saying::Failed => Verdict::Failed { error, delay: None },
            Saying::Permanent => Verdict::Permanent { reason: "rejected", error },
            Saying::Released => Verdict::Released,
        };
        dispatcher.settle(self.now, place(id), verdict);
    }

    /// The clerk, the undertaker and the retrier.
    fn work(&mut self, process: usize) {
        self.tell(process);
        let now = self.now;
        let retrier = &mut self.processes[process];
        if !retrier.rung.retrier && retrier.dispatcher.next_due().is_none_or(|at| at > now) {
            return;
        }
        retrier.rung.retrier = false;
        let due = retrier.dispatcher.due(now, 100);
        let name = retrier.name;
        for Due { place, deliveries, count: times } in due.into_iter().rev() {
            match self.pending.get_mut(&place.id).filter(|pending| pending.owner == name) {
                Some(pending) => {
                    *pending =
                        Pending { owner: name, times, touched: now, is_released: false, is_left: false };
                    let content = self.content(place.id, deliveries);
                    self.processes[process].dispatcher.bring(place, content);
                }
                None => drop(self.processes[process].dispatcher.forget(place)),
            }
        }
        self.tell(process);
    }

    fn tell(&mut self, process: usize) {
        self.processes[process].listen();
        let Process { name, dispatcher, rung, .. } = &mut self.processes[process];
        let clerk = std::mem::take(&mut rung.clerk);
        let undertaker = std::mem::take(&mut rung.undertaker);
        let acks = if clerk { dispatcher.take_acks() } else { Vec::new() };
        for place in &acks {
            self.pending.remove(&place.id);
            self.acknowledged.insert(place.id);
        }
        dispatcher.confirmed(acks);
        let releases = if clerk { dispatcher.take_releases() } else { Vec::new() };
        for Release { place, tried, at_once } in &releases {
            assert!(*tried <= MAX_DELIVERIES, "given back with {tried} deliveries");
            if let Some(pending) = self.pending.get_mut(&place.id).filter(|pending| pending.owner == *name) {
                (pending.times, pending.is_released, pending.touched) = (*tried, *at_once, self.now);
                pending.is_left = !at_once;
            }
        }
        dispatcher.confirmed(releases.into_iter().map(|release| release.place));
        let burials = if undertaker { dispatcher.take_burials() } else { Vec::new() };
        for burial in burials {
            if self.pending.remove(&burial.place.id).is_some() {
                assert!(self.dead.insert(burial.place.id, burial.reason).is_none(), "buried twice");
            }
            dispatcher.confirmed([burial.place]);
        }
    }

    fn take_over(&mut self, process: usize) {
        let (now, name) = (self.now, self.processes[process].name);
        let idle: Vec<_> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.is_released || now - pending.touched >= MIN_IDLE)
            .map(|(id, _)| *id)
            .collect();
        for id in idle {
            let pending = self.pending.get_mut(&id).unwrap();
            (pending.owner, pending.touched, pending.is_released) = (name, now, false);
            pending.is_left = false;
            let times = pending.times;
            let dispatcher = &mut self.processes[process].dispatcher;
            if times >= MAX_DELIVERIES {
                dispatcher.admit_exhausted(place(id), times, now);
                continue;
            }
            pending.times += 1;
            if dispatcher.admit(place(id), times + 1) {
                let content = self.content(id, times + 1);
                self.processes[process].dispatcher.bring(place(id), content);
            }
        }
    }

    /// Time passes; who lives renews what it has, in time.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = end.min(self.now + MIN_IDLE / 3);
            for process in &mut self.processes {
                for id in both(&process.dispatcher) {
                    match self.pending.get_mut(&id) {
                        Some(pending) if pending.owner == process.name => pending.touched = self.now,
                        _ => drop(process.dispatcher.forget(place(id))),
                    }
                }
            }
        }
    }

    fn check(&self) {
        for (id, reason) in &self.dead {
            let failures = self.failed.get(id).copied().unwrap_or_default();
            assert!(!self.acknowledged.contains(id), "{id} is both handled and dead");
            assert!(
                failures > 0 || self.killers.contains(id),
                "{id} is dead ({reason}), but nobody failed at it and no process died of it alone"
            );
        }
        for process in &self.processes {
            let up_to = process.dispatcher.acknowledged_up_to(0);
            let own = self.pending.iter().filter(|(_, pending)| pending.owner == process.name);
            let in_hand: BTreeSet<_> = both(&process.dispatcher).collect();
            for (id, pending) in own {
                let is_given_back = pending.is_released || pending.is_left;
                assert!(is_given_back || in_hand.contains(id), "{id} is ours and not in hand");
                assert!(
                    is_given_back || *id > up_to,
                    "{id} is pending, yet counts as acknowledged up to {up_to}"
                );
            }
        }
    }

    /// From now on all goes well: everything ends.
    fn finish(&mut self) {
        for _ in 0..2_000 {
            let is_over = self.pending.is_empty()
                && self.delivered == self.entries.keys().next_back().copied().unwrap_or_default();
            if is_over && self.processes.iter().all(|process| process.dispatcher.load().2 == 0) {
                return;
            }
            for process in 0..PROCESSES {
                self.step(&Step::Read(process, 10));
                self.step(&Step::TakeOver(process));
                self.step(&Step::Work(process));
                self.step(&Step::Take(process, 3));
                for _ in 0..3 {
                    self.step(&Step::Answer(process, 0, Saying::Done));
                }
                self.step(&Step::Work(process));
            }
            self.step(&Step::Pass(11));
        }
        panic!("not everything ended: {:?}", self.pending);
    }
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..PROCESSES;
    let saying = prop_oneof![
        4 => Just(Saying::Done),
        3 => Just(Saying::Failed),
        1 => Just(Saying::Permanent),
        1 => Just(Saying::Released),
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
