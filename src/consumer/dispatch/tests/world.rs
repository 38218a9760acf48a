//! A model of a group's pending list, and processes that share it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::*;
use crate::Event;

pub(super) const MAX_DELIVERIES: u32 = 3;
pub(super) const MIN_IDLE: Duration = Duration::from_secs(30);
pub(super) const PROCESSES: usize = 3;

/// What happens, to which process.
#[derive(Clone, Debug)]
pub(super) enum Step {
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
pub(super) enum Saying {
    Done,
    Failed,
    Permanent,
    Released,
    Untried,
}

/// An entry of the group's pending list.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    owner: u32,
    pub(super) times: u32,
    touched: Instant,
    is_released: bool,
    /// Given back, but not to be had at once.
    pub(super) is_left: bool,
}

pub(super) struct Process {
    name: u32,
    pub(super) dispatcher: Dispatcher,
    /// What its handlers have.
    pub(super) out: Vec<(EntryId, u32)>,
    /// Bells that were rung and not heard yet.
    rung: Wakes,
    /// A handler has found nothing and waits for its bell, or for a time.
    asleep_until: Option<Outlook>,
}

impl Process {
    /// Notes the bells that were rung.
    pub(super) fn listen(&mut self) {
        let wakes = self.dispatcher.take_wakes();
        self.rung.taker |= wakes.taker;
        self.rung.reader |= wakes.reader;
        self.rung.clerk |= wakes.clerk;
        self.rung.retrier |= wakes.retrier;
        self.rung.undertaker |= wakes.undertaker;
    }
}

pub(super) struct World {
    pub(super) now: Instant,
    names: u32,
    /// Key by id.
    pub(super) entries: BTreeMap<EntryId, u8>,
    delivered: EntryId,
    pub(super) pending: BTreeMap<EntryId, Pending>,
    pub(super) acknowledged: BTreeSet<EntryId>,
    pub(super) dead: BTreeMap<EntryId, &'static str>,
    /// Whether a handler ever failed at it or refused it.
    failed: BTreeMap<EntryId, u32>,
    /// Entries that were alone with their process when it died.
    killers: BTreeSet<EntryId>,
    pub(super) processes: Vec<Process>,
}

/// What is in hand, settled or not.
pub(super) fn both(dispatcher: &Dispatcher) -> impl Iterator<Item = EntryId> + use<> {
    let (unsettled, settled) = (dispatcher.of_stream(0, false), dispatcher.of_stream(0, true));
    unsettled.into_iter().chain(settled)
}

pub(super) fn place(id: EntryId) -> Place {
    Place { stream: 0, id }
}

impl World {
    pub(super) fn new() -> Self {
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

    pub(super) fn process(&mut self) -> Process {
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

    pub(super) fn content(&self, id: EntryId, deliveries: u32) -> Content {
        let key = match self.entries[&id] {
            0 => None,
            key => Some(Arc::from(key.to_string())),
        };
        let parcel = Parcel { place: place(id), deliveries, body: Body::Event(Event::default()) };
        Content::Parcel { parcel, key, size_bytes: 1 }
    }

    pub(super) fn step(&mut self, step: &Step) {
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

    pub(super) fn read(&mut self, process: usize, count: usize) {
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

    pub(super) fn take(&mut self, process: usize, count: usize) {
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

    pub(super) fn answer(&mut self, process: usize, which: usize, saying: Saying) {
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
            Saying::Untried => Verdict::Untried,
        };
        dispatcher.settle(self.now, place(id), verdict);
    }

    /// The clerk, the undertaker and the retrier.
    pub(super) fn work(&mut self, process: usize) {
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

    pub(super) fn tell(&mut self, process: usize) {
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

    pub(super) fn take_over(&mut self, process: usize) {
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
    pub(super) fn pass(&mut self, duration: Duration) {
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

    pub(super) fn check(&self) {
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
    pub(super) fn finish(&mut self) {
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
