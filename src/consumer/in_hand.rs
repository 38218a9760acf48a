//! What was read and is not settled.
//!
//! Invariant: an entry is in hand from before it is handed out until Redis has confirmed what became
//! of it. So an entry of our own pending list that is not in hand was lost on its way to us, and may be
//! handed out; and one that is in hand is ours to renew.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::stream::EntryId;

#[derive(Debug, Default)]
pub(super) struct InHand {
    entries: Mutex<HashMap<Arc<str>, BTreeSet<EntryId>>>,
}

impl InHand {
    /// Takes an entry in hand; `false` if it is already.
    pub(super) fn insert(&self, stream: &Arc<str>, id: EntryId) -> bool {
        self.entries.lock().entry(stream.clone()).or_default().insert(id)
    }

    pub(super) fn remove(&self, stream: &str, ids: &[EntryId]) {
        let mut entries = self.entries.lock();
        let Some(held) = entries.get_mut(stream) else { return };
        for id in ids {
            held.remove(id);
        }
    }

    /// All of it, by stream, oldest first.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Vec<EntryId>)> {
        let entries = self.entries.lock();
        let held = entries.iter().filter(|(_, ids)| !ids.is_empty());
        held.map(|(stream, ids)| (stream.clone(), ids.iter().copied().collect())).collect()
    }
}
