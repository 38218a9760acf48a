//! The order of entries that have the same key.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Parcel, Place};

/// So many events are kept in memory behind one of their key; the others are read again when it is their turn.
const KEPT: usize = 16;

/// So many parked entries of a key count as read ahead.
const COUNTED: usize = 64;

/// Of one stream, the entries of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub stream: usize,
    pub key: Arc<str>,
}

/// Who comes next in a lane.
#[derive(Debug)]
pub(super) enum Next {
    Nobody,
    Parcel(Box<Parcel>),
    /// Its event is not in memory.
    Reread(Place),
}

/// Invariant: a lane is there as long as an entry holds it, and that is the earliest of its key in hand.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<Lane, Queue>,
    /// How many entries are parked behind one that is on its way, not behind one that waits to be tried again.
    moving: usize,
}

#[derive(Debug)]
struct Queue {
    holder: Place,
    parked: VecDeque<(Place, Option<Parcel>)>,
    kept: usize,
    is_held_up: bool,
}

impl Queue {
    /// One key alone, however long its queue, does not stop reading for the others.
    fn moving(&self) -> usize {
        if self.is_held_up { 0 } else { self.parked.len().min(COUNTED) }
    }
}

impl Lanes {
    /// Joins a lane: gives the parcel back if it may go at once; else says whether its event was kept.
    pub(super) fn join(&mut self, lane: Lane, parcel: Parcel) -> Result<Parcel, bool> {
        let place = parcel.place;
        let Some(queue) = self.lanes.get_mut(&lane) else {
            let queue = Queue { holder: place, parked: VecDeque::new(), kept: 0, is_held_up: false };
            self.lanes.insert(lane, queue);
            return Ok(parcel);
        };
        let is_kept = queue.kept < KEPT && queue.kept == queue.parked.len();
        queue.kept += usize::from(is_kept);
        self.moving -= queue.moving();
        queue.parked.push_back((place, is_kept.then_some(parcel)));
        self.moving += queue.moving();
        Err(is_kept)
    }

    /// Whether the entry that holds a lane waits to be tried again, or is on its way.
    pub(super) fn hold_up(&mut self, lane: &Lane, is_held_up: bool) {
        if let Some(queue) = self.lanes.get_mut(lane) {
            self.moving -= queue.moving();
            queue.is_held_up = is_held_up;
            self.moving += queue.moving();
        }
    }

    /// How many entries are parked behind one that is on its way.
    pub(super) fn moving(&self) -> usize {
        self.moving
    }

    /// Leaves a lane, and says who comes next if the lane was held.
    pub(super) fn leave(&mut self, lane: &Lane, place: Place) -> Next {
        let Some(queue) = self.lanes.get_mut(lane) else { return Next::Nobody };
        self.moving -= queue.moving();
        let next = if queue.holder == place { queue.advance() } else { queue.remove(place) };
        match next {
            Next::Nobody if queue.holder == place => drop(self.lanes.remove(lane)),
            _ => self.moving += queue.moving(),
        }
        next
    }
}

impl Queue {
    /// The first of those parked is the next holder.
    fn advance(&mut self) -> Next {
        let Some((next, parcel)) = self.parked.pop_front() else { return Next::Nobody };
        (self.holder, self.is_held_up) = (next, false);
        match parcel {
            Some(parcel) => {
                self.kept -= 1;
                Next::Parcel(Box::new(parcel))
            }
            None => Next::Reread(next),
        }
    }

    fn remove(&mut self, place: Place) -> Next {
        let kept = &mut self.kept;
        self.parked.retain(|(parked, parcel)| {
            let stays = *parked != place;
            *kept -= usize::from(!stays && parcel.is_some());
            stays
        });
        Next::Nobody
    }
}
