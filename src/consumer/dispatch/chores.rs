//! What the tasks carry out: acknowledging, giving back, burying, reading again.

use std::cmp::Reverse;

use tokio::time::Instant;

use super::{Burial, Dispatcher, Due, Place, Release, State, Wakes};
use crate::stream::{EntryId, claim::ALONE};

impl Dispatcher {
    /// Entries to be acknowledged.
    pub(in crate::consumer) fn take_acks(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.acks)
    }

    /// How many entries wait to be acknowledged.
    pub(in crate::consumer) fn acks(&self) -> usize {
        self.acks.len()
    }

    /// Entries to be given back.
    pub(in crate::consumer) fn take_releases(&mut self) -> Vec<Release> {
        std::mem::take(&mut self.releases)
    }

    pub(in crate::consumer) fn take_burials(&mut self) -> Vec<Burial> {
        std::mem::take(&mut self.burials)
    }

    /// Redis knows what became of these.
    pub(in crate::consumer) fn confirmed(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            if self.in_hand.get(place).is_some_and(|held| held.state.is_settled()) {
                self.remove(place);
            }
        }
        self.wakes.retrier |= self.lone_since.is_some();
    }

    /// These were pending for nobody when they were renewed, and are ours again.
    ///
    /// Most were acknowledged while they were being renewed: nobody would settle them any more.
    pub(in crate::consumer) fn adopted(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            if self.in_hand.get(place).is_none_or(|held| held.state.is_settled()) {
                self.acks.push(place);
                self.wakes.clerk = true;
            }
        }
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.in_hand.remove(place);
        if !self.lone.is_empty() {
            self.lone.retain(|lone| *lone != place);
        }
        self.end_turn(place);
        self.wakes.reader = true;
    }

    /// The entry is not tried alone any more: the next one is, or all others go on.
    pub(super) fn end_turn(&mut self, place: Place) {
        if self.lone_turn == Some(place) {
            (self.lone_turn, self.lone_parcel) = (None, None);
        }
        if self.lone_since.is_none() || self.lone_turn.is_some() {
            return;
        }
        if self.lone.is_empty() {
            self.lone_since = None;
            self.wakes.taker = true;
        } else {
            self.wakes.retrier = true;
        }
    }

    /// At most `max` entries that are to be read again now.
    pub(in crate::consumer) fn due(&mut self, now: Instant, max: usize) -> Vec<Due> {
        let mut due = Vec::new();
        self.now = self.now.max(now);
        self.call_lone(now, &mut due);
        while due.len() < max && self.waiting.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, place))) = self.waiting.pop() else { break };
            let Some(held) = self.in_hand.get(place) else { continue };
            let deliveries = match held.state {
                // One that was given back, again and again, does not use up its deliveries.
                State::Waiting => held.deliveries.saturating_add(1).min(self.rules.max_deliveries),
                State::Deferred => held.deliveries,
                _ => continue,
            };
            self.read_again(place, deliveries, 0, &mut due);
        }
        due
    }

    /// When the next entry is due; to be asked again when the retrier is woken.
    pub(in crate::consumer) fn next_due(&self) -> Option<Instant> {
        let lone =
            self.lone_since.map(|since| since + self.rules.patience).filter(|_| self.lone_turn.is_none());
        let waiting = self.waiting.peek().map(|Reverse((at, _))| *at);
        [lone, waiting].into_iter().flatten().min()
    }

    /// Gives the turn to the next entry that is to be tried alone, if nothing else is with a handler or unknown to Redis.
    fn call_lone(&mut self, now: Instant, due: &mut Vec<Due>) {
        if self.lone_turn.is_some() {
            return;
        }
        if !self.in_hand.is_idle() {
            if self.lone_since.is_some_and(|since| since + self.rules.patience <= now) {
                self.give_lone_back();
            }
            return;
        }
        if let Some(place) = self.lone.pop_front() {
            self.lone_turn = Some(place);
            let deliveries = self.in_hand.get(place).map_or(0, |held| held.deliveries);
            self.read_again(place, deliveries.saturating_add(1), ALONE, due);
        }
    }

    /// The others take too long: somebody else may try, or we later.
    fn give_lone_back(&mut self) {
        for place in std::mem::take(&mut self.lone) {
            self.in_hand.set(place, State::Settling);
            self.releases.push(Release { place, tried: self.rules.max_deliveries, at_once: false });
        }
        self.lone_since = None;
        (self.wakes.clerk, self.wakes.taker) = (true, true);
    }

    fn read_again(&mut self, place: Place, deliveries: u32, mark: u32, due: &mut Vec<Due>) {
        self.in_hand.set_deliveries(place, deliveries);
        self.in_hand.set(place, State::Reread);
        due.push(Due { place, deliveries, count: mark.saturating_add(deliveries) });
    }

    /// The entries could not be read again for the moment.
    pub(in crate::consumer) fn defer(&mut self, places: impl IntoIterator<Item = Place>, until: Instant) {
        for place in places {
            if self.lone_turn == Some(place) {
                self.put_back_lone(place);
            } else if self.in_hand.get(place).is_some_and(|held| held.state == State::Reread) {
                self.in_hand.set(place, State::Deferred);
                self.waiting.push(Reverse((until, place)));
            }
        }
    }

    /// Everything that is not settled is given back.
    pub(in crate::consumer) fn release_all(&mut self) {
        let max = self.rules.max_deliveries;
        let unsettled = self.in_hand.all().filter_map(|(place, held)| {
            let tried = match held.state {
                State::Settling | State::Buried => return None,
                State::Out | State::Waiting | State::Lone => held.deliveries,
                State::Read | State::Ready | State::Parked | State::Reread | State::Deferred => {
                    held.deliveries.saturating_sub(1)
                }
            };
            Some(Release { place, tried: tried.min(max), at_once: true })
        });
        let unsettled: Vec<_> = unsettled.collect();
        for release in &unsettled {
            self.in_hand.set(release.place, State::Settling);
        }
        self.releases.extend(unsettled);
        self.ready.clear();
        self.waiting.clear();
        self.lone.clear();
    }

    /// What of a stream is in hand and is, or is not, settled yet, oldest first.
    pub(in crate::consumer) fn of_stream(&self, stream: usize, is_settled: bool) -> Vec<EntryId> {
        self.in_hand.of_stream(stream, is_settled)
    }

    pub(in crate::consumer) fn holds(&self, place: Place) -> bool {
        self.in_hand.get(place).is_some()
    }

    /// Up to where a stream was read by a group that is joined now, and what of that is not acknowledged.
    pub(in crate::consumer) fn joined(&mut self, stream: usize, acknowledged: EntryId) {
        self.in_hand.joined(stream, acknowledged);
    }

    /// Up to here, all of a stream that came to us is acknowledged.
    pub(in crate::consumer) fn acknowledged_up_to(&self, stream: usize) -> EntryId {
        self.in_hand.acknowledged_up_to(stream)
    }

    /// Up to here, all of a stream that came to us is settled, whether or not Redis knows of it.
    pub(in crate::consumer) fn settled_up_to(&self, stream: usize) -> EntryId {
        self.in_hand.settled_up_to(stream)
    }

    /// How many more entries of about `entry_bytes` may be read; 0 if there is no room.
    pub(in crate::consumer) fn room(&self, entry_bytes: usize) -> usize {
        let bytes = self.rules.bytes.saturating_sub(self.in_hand.bytes());
        // One batch to be taken, and one on its way: less than a whole one is not worth the asking.
        // What is parked behind an entry that waits to be tried again holds up nobody else.
        let ahead = self.ready.len() + self.in_hand.arriving() + self.lanes.moving();
        if ahead > self.rules.batch || bytes == 0 || self.in_hand.len() >= self.rules.in_hand {
            return 0;
        }
        (bytes / entry_bytes.max(1)).clamp(1, self.rules.batch)
    }

    /// Entries ready to be taken, bytes of events in memory, entries in hand.
    pub(in crate::consumer) fn load(&self) -> (usize, usize, usize) {
        (self.ready.len(), self.in_hand.bytes(), self.in_hand.len())
    }

    /// Who has something to do since the last call.
    pub(in crate::consumer) fn take_wakes(&mut self) -> Wakes {
        let mut wakes = std::mem::take(&mut self.wakes);
        // Woken for every entry that goes, the reader would mostly find that there is no room yet.
        wakes.reader = wakes.reader && self.room(1) > 0;
        wakes
    }
}
