//! Which events of the streams a client asks for.

use std::sync::Arc;

use synapse_rs::Filter;

use crate::streams::{COUNT, Stream, StreamSet};

/// The streams a client asks for, some with a condition.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    /// Asked for at all.
    streams: StreamSet,
    /// Of these, asked for with a condition.
    conditional: StreamSet,
    /// The conditions; nothing is allocated while there are none.
    conditions: Option<Box<[Option<Arc<Filter>>; COUNT]>>,
}

impl Subscriptions {
    /// Every stream, unconditionally.
    pub fn everything() -> Self {
        Self { streams: StreamSet::ALL, ..Self::default() }
    }

    /// The streams asked for.
    pub fn streams(&self) -> StreamSet {
        self.streams
    }

    /// Asks for these streams with this condition, whatever was asked of them before.
    pub fn subscribe(&mut self, streams: StreamSet, condition: Option<Arc<Filter>>) {
        self.unsubscribe(streams);
        self.streams = self.streams.with(streams);
        let Some(condition) = condition else { return };
        self.conditional = self.conditional.with(streams);
        let conditions = self.conditions.get_or_insert_default();
        for stream in streams.iter() {
            conditions[stream.index()] = Some(condition.clone());
        }
    }

    /// Asks for these streams no more.
    pub fn unsubscribe(&mut self, streams: StreamSet) {
        self.streams = self.streams.without(streams);
        self.conditional = self.conditional.without(streams);
        if self.conditional.is_empty() {
            self.conditions = None;
        }
    }

    /// Whether anything is asked for with a condition.
    pub fn has_conditions(&self) -> bool {
        !self.conditional.is_empty()
    }

    /// Whether every event of these streams is asked for.
    pub fn wants_all_of(&self, streams: StreamSet) -> bool {
        self.streams.without(self.conditional).contains_all(streams)
    }

    /// Whether this event is asked for. `is_met` is called only if there is a condition, which the event may or may not meet.
    pub fn wants(&self, stream: Stream, is_met: impl FnOnce(&Arc<Filter>) -> bool) -> bool {
        if !self.conditional.contains(stream) {
            return self.streams.contains(stream);
        }
        let condition = self.conditions.as_ref().and_then(|conditions| conditions[stream.index()].as_ref());
        condition.is_none_or(is_met)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use synapse_rs::Event;

    use super::*;

    fn named(name: &str) -> StreamSet {
        StreamSet::named(name).unwrap()
    }

    fn wants(subscriptions: &Subscriptions, key: &str, model: &str) -> bool {
        let event = Event::new("x").with("model_name", model);
        subscriptions.wants(Stream::of_key(key).unwrap(), |condition| condition.matches(&event))
    }

    #[test]
    fn the_last_word_on_a_stream_counts_and_leaves_other_streams_alone() {
        let mut subscriptions = Subscriptions::default();
        let only_m = Arc::new(Filter::from_json(&json!({"model_name": "m"})).unwrap());
        subscriptions.subscribe(named("model-events").with(named("inference-events")), Some(only_m));
        assert!(wants(&subscriptions, "model-events", "m"));
        assert!(!wants(&subscriptions, "model-events", "other"));
        assert!(!wants(&subscriptions, "training-events", "m"));
        assert!(!subscriptions.wants_all_of(named("model-events")));

        subscriptions.subscribe(named("model-events"), None);
        assert!(wants(&subscriptions, "model-events", "other"));
        assert!(!wants(&subscriptions, "inference-events", "other"));
        assert!(subscriptions.wants_all_of(named("model-events")));

        subscriptions.unsubscribe(named("inference-events"));
        assert!(!wants(&subscriptions, "inference-events", "m"));
        assert!(subscriptions.conditions.is_none(), "conditions of nothing are kept");
    }

    #[test]
    fn fields_are_looked_at_only_if_they_matter() {
        let everything = Subscriptions::everything();
        assert!(everything.wants_all_of(StreamSet::ALL));
        for stream in Stream::all() {
            assert!(everything.wants(stream, |_| panic!("no condition needs the fields")));
        }
    }
}
