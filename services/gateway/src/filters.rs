//! Conditions on events, each tried once on an event however many clients have it.
//!
//! Equal conditions are one and the same [`Filter`] in memory ([`Filters::share`]); so while a batch of events is handed out,
//! what came of a condition is known by where it lies ([`Verdicts`]).

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use synapse_rs::Filter;

use crate::sealed::Live;

/// The conditions that clients have.
#[derive(Debug, Default)]
pub struct Filters {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    filters: HashMap<Filter, Weak<Filter>>,
    /// With so many it is looked which are not in use any more.
    look_at: usize,
}

impl Filters {
    /// The one that is equal to it; `None` if every event meets it.
    pub(crate) fn share(&self, filter: Option<Filter>) -> Option<Arc<Filter>> {
        let filter = filter.filter(|filter| !filter.is_empty())?;
        let mut known = self.known.lock();
        if let Some(shared) = known.filters.get(&filter).and_then(Weak::upgrade) {
            return Some(shared);
        }
        if known.filters.len() >= known.look_at {
            known.filters.retain(|_, shared| shared.strong_count() > 0);
            known.look_at = (known.filters.len() * 2).max(64);
        }
        let shared = Arc::new(filter.clone());
        known.filters.insert(filter, Arc::downgrade(&shared));
        Some(shared)
    }
}

/// Which conditions the events of a batch meet, found out as it is asked.
#[derive(Debug)]
pub(crate) struct Verdicts<'a> {
    events: &'a [Live],
    /// By where the condition lies: for each event whether it meets it, if that is known.
    known: RefCell<HashMap<usize, Box<[Option<bool>]>>>,
    tried: Cell<u64>,
}

impl<'a> Verdicts<'a> {
    pub(crate) fn on(events: &'a [Live]) -> Self {
        Self { events, known: RefCell::default(), tried: Cell::new(0) }
    }

    /// Whether the event in this place meets the condition.
    pub(crate) fn is_met(&self, filter: &Arc<Filter>, place: usize) -> bool {
        let mut known = self.known.borrow_mut();
        let of_filter = known
            .entry(Arc::as_ptr(filter).addr())
            .or_insert_with(|| vec![None; self.events.len()].into_boxed_slice());
        *of_filter[place].get_or_insert_with(|| {
            self.tried.set(self.tried.get() + 1);
            filter.matches(&self.events[place].event)
        })
    }

    /// How often a condition was tried.
    pub(crate) fn tried(&self) -> u64 {
        self.tried.get()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shared(filters: &Filters, name: &str) -> Arc<Filter> {
        let filter = Filter::from_json(&json!({ "model_name": name })).unwrap();
        filters.share(Some(filter)).unwrap()
    }

    #[test]
    fn equal_conditions_are_one_and_those_of_nobody_are_forgotten() {
        let filters = Filters::default();
        let one = shared(&filters, "m");
        assert!(Arc::ptr_eq(&one, &shared(&filters, "m")));
        assert!(!Arc::ptr_eq(&one, &shared(&filters, "n")));
        assert!(filters.share(Some(Filter::default())).is_none(), "every event meets it");
        for number in 0..1_000 {
            shared(&filters, &number.to_string());
        }
        assert!(filters.known.lock().filters.len() <= 64);
        assert!(Arc::ptr_eq(&one, &shared(&filters, "m")), "it is still in use");
    }
}
