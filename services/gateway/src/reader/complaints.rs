//! What is said of entries that are no events.

use std::collections::HashSet;

use synapse_rs::{EntryId, event::DecodeError};

use crate::streams::Stream;

/// Logs invalid entries once per stream and field, not once per entry.
#[derive(Debug, Default)]
pub(super) struct Complaints(HashSet<(Stream, String)>);

/// Kinds of complaints that are remembered; names of unknown fields are the publishers' choice.
const MAX_COMPLAINTS: usize = 1_000;

impl Complaints {
    pub(super) fn once(&mut self, stream: Stream, id: EntryId, error: &DecodeError) {
        let kind = (stream, error.field().to_owned());
        if self.0.len() < MAX_COMPLAINTS && self.0.insert(kind) {
            tracing::warn!(
                stream = stream.key(),
                %id,
                %error,
                "an entry is not a valid event and was skipped; others with the same fault are only counted"
            );
        }
    }
}
