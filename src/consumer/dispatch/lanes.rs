//! The order of entries that have the same key.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Parcel, Place};

/// So many events are kept in memory behind one of their key; the others are read again when it is their turn.
const KEPT: usize = 16;

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
}

#[derive(Debug)]
struct Queue {
    holder: Place,
    parked: VecDeque<(Place, Option<Parcel>)>,
    kept: usize,
}

impl Lanes {
    /// Joins a lane: gives the parcel back if it may go at once; else says whether its event was kept.
    pub(super) fn join(&mut self, lane: Lane, parcel: Parcel) -> Result<Parcel, bool> {
        let place = parcel.place;
        let Some(queue) = self.lanes.get_mut(&lane) else {
            self.lanes.insert(lane, Queue { holder: place, parked: VecDeque::new(), kept: 0 });
            return Ok(parcel);
        };
        let is_kept = queue.kept < KEPT && queue.kept == queue.parked.len();
        queue.kept += usize::from(is_kept);
        queue.parked.push_back((place, is_kept.then_some(parcel)));
        Err(is_kept)
    }

    /// Leaves a lane, and says who comes next if the lane was held.
    pub(super) fn leave(&mut self, lane: &Lane, place: Place) -> Next {
        let Some(queue) = self.lanes.get_mut(lane) else { return Next::Nobody };
        if queue.holder != place {
            let kept = &mut queue.kept;
            queue.parked.retain(|(parked, parcel)| {
                let stays = *parked != place;
                *kept -= usize::from(!stays && parcel.is_some());
                stays
            });
            return Next::Nobody;
        }
        match queue.parked.pop_front() {
            None => {
                self.lanes.remove(lane);
                Next::Nobody
            }
            Some((next, parcel)) => {
                queue.holder = next;
                match parcel {
                    Some(parcel) => {
                        queue.kept -= 1;
                        Next::Parcel(Box::new(parcel))
                    }
                    None => Next::Reread(next),
                }
            }
        }
    }
}
