//! What was read and is not settled: who gets it next, in what order, and what Redis is to be told.
//!
//! A state machine without Redis and without a clock of its own. The tasks of a subscription bring in what they
//! have read, handlers take deliveries and say what became of them, and the tasks carry out what follows.
//!
//! # Invariants
//!
//! * An entry is in hand from before it can be taken until Redis has confirmed what became of it. So an entry of
//!   our own pending list that is not in hand was lost on its way to us, and one in hand is ours to renew.
//! * An entry is with at most one handler, and of the entries of one key (where order is asked for) only one is: those
//!   that come later are parked behind it until it is settled, however often it fails. One that is tried alone is alone.
//! * An entry that was delivered as often as it may be, and of which no consumer lived to tell what became, is
//!   given to a handler once more, while no other entry is with a handler and Redis knows of all that were.

mod chores;
mod lanes;
mod parcel;
mod state;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

pub(super) use self::parcel::{Body, Burial, Content, Due, Parcel, Release};
use self::{
    lanes::{Lane, Lanes, Next},
    state::{Held, InHand, State},
};
use super::retry_delay;
use crate::stream::{EntryId, claim::ALONE};

/// So many acknowledgements are sent without gathering more.
pub(super) const MANY_ACKS: usize = 500;

/// The longest that anything is put off.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// After a time, but not for ever: a longer one overflows the clock.
pub(super) fn later(now: Instant, duration: Duration) -> Instant {
    now + duration.min(LONGEST)
}

/// An entry: the number of its stream, and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub stream: usize,
    pub id: EntryId,
}

/// What a dispatcher goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub max_deliveries: u32,
    pub backoff: (Duration, Duration),
    /// How long an entry that is to be tried alone waits for the others to end.
    pub patience: Duration,
    /// How many entries are read at once at most; twice as many that are ready are enough.
    pub batch: usize,
    /// So many bytes of events in memory are enough.
    pub bytes: usize,
    /// So many entries in hand are enough, those that wait to be delivered again included.
    pub in_hand: usize,
}

/// What a handler says of an entry that it was given.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Done,
    /// Again after a delay, by default one that doubles each time, unless it was the last time.
    Failed {
        error: String,
        delay: Option<Duration>,
    },
    /// Never again, for the reason in one word and the error in many.
    Permanent {
        reason: &'static str,
        error: String,
    },
    /// Not handled, and nobody's fault.
    Released,
    /// Not even tried: somebody else is to have it, with the attempts that it had before.
    Untried,
}

/// When there is something to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    Now,
    At(Instant),
    /// When something is brought in or settled.
    Later,
}

/// Who has something to do after a change.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a bell each")]
pub(super) struct Wakes {
    pub taker: bool,
    pub reader: bool,
    pub clerk: bool,
    pub retrier: bool,
    pub undertaker: bool,
}

#[derive(Debug)]
pub(super) struct Dispatcher {
    rules: Rules,
    in_hand: InHand,
    ready: VecDeque<Parcel>,
    lanes: Lanes,
    waiting: BinaryHeap<Reverse<(Instant, Place)>>,
    /// Entries to be tried alone, and since when.
    lone: VecDeque<Place>,
    lone_since: Option<Instant>,
    /// The one whose turn it is, and its event once it was read again.
    lone_turn: Option<Place>,
    lone_parcel: Option<Parcel>,
    paused_until: Option<Instant>,
    /// The latest time that anybody told.
    now: Instant,
    acks: Vec<Place>,
    releases: Vec<Release>,
    burials: Vec<Burial>,
    wakes: Wakes,
}

// === what comes in ===

impl Dispatcher {
    pub(super) fn new(streams: usize, rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            in_hand: InHand::new(streams),
            ready: VecDeque::new(),
            lanes: Lanes::default(),
            waiting: BinaryHeap::new(),
            lone: VecDeque::new(),
            lone_since: None,
            lone_turn: None,
            lone_parcel: None,
            now,
            paused_until: None,
            acks: Vec::new(),
            releases: Vec::new(),
            burials: Vec::new(),
            wakes: Wakes::default(),
        }
    }

    /// Takes an entry in hand that is delivered for the `deliveries`th time; `false` if it is in hand already.
    pub(super) fn admit(&mut self, place: Place, deliveries: u32) -> bool {
        self.in_hand.insert(place, Held::new(deliveries, State::Read))
    }

    /// Takes an entry in hand that has been delivered as often as it may be, without anybody telling what became of it.
    pub(super) fn admit_exhausted(&mut self, place: Place, deliveries: u32, now: Instant) {
        let tried_alone = deliveries.checked_sub(ALONE);
        let deliveries = tried_alone.unwrap_or(deliveries);
        if !self.in_hand.insert(place, Held::new(deliveries, State::Lone)) {
            return;
        }
        if tried_alone.is_some() {
            let error =
                format!("delivered {deliveries} times, and no consumer lived to say what became of it");
            return self.bury(place, "max_deliveries", error);
        }
        self.lone.push_back(place);
        self.lone_since.get_or_insert(now);
        self.wakes.retrier = true;
    }

    /// What an entry that is in hand turned out to be.
    pub(super) fn bring(&mut self, place: Place, content: Content) {
        let is_again = match self.in_hand.get(place) {
            Some(Held { state: State::Read, .. }) => false,
            Some(Held { state: State::Reread, .. }) => true,
            _ => return,
        };
        match content {
            Content::Parcel { parcel, key, size_bytes } => {
                self.in_hand.hold_event(place, size_bytes);
                if !is_again && let Some(key) = key {
                    self.in_hand.set_key(place, &key);
                    match self.lanes.join(Lane { stream: place.stream, key }, parcel) {
                        Ok(parcel) => self.offer(parcel, false),
                        Err(is_kept) => {
                            self.in_hand.set(place, State::Parked);
                            if !is_kept {
                                self.in_hand.drop_event(place);
                            }
                        }
                    }
                } else {
                    self.hold_up(place, false);
                    self.offer(parcel, is_again);
                }
            }
            Content::Nothing => self.acknowledge(place),
            Content::Undecodable(error) => self.bury(place, "undecodable", error),
        }
        self.wakes.reader = true;
    }

    fn offer(&mut self, parcel: Parcel, first: bool) {
        self.in_hand.set(parcel.place, State::Ready);
        if self.lone_turn == Some(parcel.place) {
            self.lone_parcel = Some(parcel);
        } else if first {
            self.ready.push_front(parcel);
        } else {
            self.ready.push_back(parcel);
        }
        self.wakes.taker = true;
    }

    /// The entry is gone from the stream, or somebody else's: there is nothing left to settle. `false` if that is
    /// left to who is at it.
    pub(super) fn forget(&mut self, place: Place) -> bool {
        // A handler that has it may finish; what it says is told to Redis, which knows best.
        if self.in_hand.get(place).is_none_or(|held| held.state == State::Out || held.state.is_settled()) {
            return false;
        }
        self.leave_lane(place);
        self.remove(place);
        true
    }
}

// === what goes out ===

impl Dispatcher {
    /// At most `max` parcels, in stream order but for those that are delivered again; with `singly`, each of these
    /// comes by itself.
    pub(super) fn take(&mut self, now: Instant, max: usize, singly: bool) -> Vec<Parcel> {
        self.now = self.now.max(now);
        let mut taken: Vec<Parcel> = Vec::new();
        while taken.len() < max && self.outlook(now) == Outlook::Now {
            let is_again = |parcel: &Parcel| singly && parcel.deliveries > 1;
            if taken.last().is_some_and(is_again)
                || (!taken.is_empty() && self.ready.front().is_some_and(is_again))
            {
                break;
            }
            let Some(parcel) = self.lone_parcel.take().or_else(|| self.ready.pop_front()) else { break };
            if self.in_hand.get(parcel.place).is_some_and(|held| held.state == State::Ready) {
                self.in_hand.set(parcel.place, State::Out);
                taken.push(parcel);
            }
        }
        // Another taker may be waiting for what is left; and there is room for more.
        self.wakes.taker = self.outlook(now) == Outlook::Now;
        self.wakes.reader = true;
        taken
    }

    pub(super) fn outlook(&self, now: Instant) -> Outlook {
        if let Some(end) = self.paused_until.filter(|end| *end > now) {
            return Outlook::At(end);
        }
        let something = match self.lone_since {
            None => !self.ready.is_empty(),
            Some(_) => self.lone_parcel.is_some(),
        };
        if something { Outlook::Now } else { Outlook::Later }
    }

    /// Hands nothing out before `end`.
    pub(super) fn pause_until(&mut self, end: Instant) {
        self.paused_until = Some(self.paused_until.map_or(end, |until| until.max(end)));
        // Who waits for an event is to wait for the end instead.
        self.wakes.taker = true;
    }

    /// What a handler says of an entry; it counts once. Gives whether the entry has failed and is delivered again.
    pub(super) fn settle(&mut self, now: Instant, place: Place, verdict: Verdict) -> bool {
        let Some(Held { state: State::Out, deliveries, .. }) = self.in_hand.get(place) else { return false };
        let deliveries = *deliveries;
        self.now = self.now.max(now);
        match verdict {
            Verdict::Done => self.acknowledge(place),
            Verdict::Permanent { reason, error } => self.bury(place, reason, error),
            Verdict::Failed { error, .. } if deliveries >= self.rules.max_deliveries => {
                self.bury(place, "max_deliveries", error);
            }
            Verdict::Failed { delay, .. } => {
                let delay = delay.unwrap_or_else(|| retry_delay(self.rules.backoff, deliveries));
                self.wait(place, later(now, delay));
                return true;
            }
            Verdict::Released | Verdict::Untried if self.lone_turn == Some(place) => {
                self.put_back_lone(place);
            }
            Verdict::Untried => {
                self.settled(place, State::Settling);
                let tried = deliveries.saturating_sub(1).min(self.rules.max_deliveries);
                self.releases.push(Release { place, tried, at_once: true });
                self.wakes.clerk = true;
            }
            // At once the first time; a loop that gives the same entry back again and again slows down.
            Verdict::Released => {
                let again = deliveries
                    .checked_sub(2)
                    .map_or(Duration::ZERO, |times| retry_delay(self.rules.backoff, times.saturating_add(1)));
                self.wait(place, later(now, again));
            }
        }
        false
    }

    /// The one whose turn it was is given back, as if it had not been tried.
    fn put_back_lone(&mut self, place: Place) {
        self.in_hand.drop_event(place);
        self.in_hand.set(place, State::Settling);
        self.releases.push(Release { place, tried: self.rules.max_deliveries, at_once: true });
        self.wakes.clerk = true;
        self.end_turn(place);
    }

    fn wait(&mut self, place: Place, until: Instant) {
        self.hold_up(place, true);
        self.in_hand.drop_event(place);
        self.in_hand.set(place, State::Waiting);
        self.waiting.push(Reverse((until, place)));
        (self.wakes.retrier, self.wakes.reader) = (true, true);
    }

    fn acknowledge(&mut self, place: Place) {
        self.settled(place, State::Settling);
        self.acks.push(place);
        // The clerk lets them gather, unless there are many.
        self.wakes.clerk |= matches!(self.acks.len(), 1 | MANY_ACKS);
    }

    fn bury(&mut self, place: Place, reason: &'static str, error: String) {
        let deliveries = self.in_hand.get(place).map_or(0, |held| held.deliveries);
        self.settled(place, State::Buried);
        self.burials.push(Burial { place, reason, error, deliveries });
        self.wakes.undertaker = true;
    }

    fn settled(&mut self, place: Place, state: State) {
        self.in_hand.drop_event(place);
        self.in_hand.set(place, state);
        self.wakes.reader = true;
        self.leave_lane(place);
        self.end_turn(place);
    }

    /// Those behind the entry wait for long, or not.
    fn hold_up(&mut self, place: Place, is_held_up: bool) {
        if let Some(key) = self.in_hand.get(place).and_then(|held| held.key.clone()) {
            self.lanes.hold_up(&Lane { stream: place.stream, key }, is_held_up);
        }
    }

    /// The next of the entry's key may go.
    fn leave_lane(&mut self, place: Place) {
        let Some(key) = self.in_hand.get(place).and_then(|held| held.key.clone()) else { return };
        match self.lanes.leave(&Lane { stream: place.stream, key }, place) {
            Next::Nobody => {}
            Next::Parcel(parcel) => self.offer(*parcel, true),
            Next::Reread(next) => {
                self.in_hand.set(next, State::Deferred);
                self.waiting.push(Reverse((self.now, next)));
                self.wakes.retrier = true;
            }
        }
    }
}
