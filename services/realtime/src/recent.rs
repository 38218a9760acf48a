//! The last ids of something: whether one comes again.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

/// The last ids, so many at most.
#[derive(Debug)]
pub struct Recent {
    ids: HashSet<Uuid>,
    order: VecDeque<Uuid>,
    most: usize,
}

impl Recent {
    /// None yet; beyond `most` the oldest is forgotten.
    pub fn new(most: usize) -> Self {
        Self { ids: HashSet::new(), order: VecDeque::new(), most }
    }

    /// Whether it is not among them, in which case it is from now on.
    pub fn insert(&mut self, id: Uuid) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    /// Whether it is among them.
    pub fn contains(&self, id: &Uuid) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ids_are_remembered_and_older_ones_forgotten() {
        let mut recent = Recent::new(100);
        let id = Uuid::from_u128;
        assert!((0..100).all(|number| recent.insert(id(number))));
        assert!(!recent.insert(id(0)) && recent.contains(&id(99)));
        assert!(recent.insert(id(100)), "a new one");
        assert!(recent.insert(id(0)), "the oldest was forgotten for it");
        assert_eq!(recent.ids.len(), 100);
    }
}
