//! The streams that are forwarded, and what clients call them.

use synapse_rs::stream;

/// How many streams are read.
pub const COUNT: usize = stream::ALL.len();

/// One of the streams that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(u8);

impl Stream {
    /// Every stream.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..8).take(COUNT).map(Self)
    }

    /// The stream that Redis knows by this name.
    pub fn of_key(key: &str) -> Option<Self> {
        Self::all().find(|stream| stream.key() == key)
    }

    /// Its place among all.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Its name in Redis.
    pub fn key(self) -> &'static str {
        stream::ALL[self.index()]
    }

    /// Its name for clients: the older name of a stream is not shown.
    pub fn name(self) -> &'static str {
        match self.key() {
            stream::AGI_EVENTS => stream::AGI_DECISIONS,
            key => key,
        }
    }

    /// The Socket.IO event that carries its events.
    pub fn socketio_event(self) -> &'static str {
        match self.name() {
            stream::MODEL_EVENTS => "model-event",
            stream::INFERENCE_EVENTS => "inference-event",
            stream::PLATFORM_EVENTS => "platform-event",
            stream::TRAINING_EVENTS => "training-event",
            stream::AGI_DECISIONS => "agi-decision-event",
            _ => "error-event",
        }
    }
}

/// A set of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSet(u8);

impl StreamSet {
    /// Every stream.
    pub const ALL: Self = Self((1 << COUNT) - 1);

    /// The streams a client means by a name, old and new together.
    pub fn named(name: &str) -> Option<Self> {
        let name = if name == stream::AGI_EVENTS { stream::AGI_DECISIONS } else { name };
        let named: Self = Stream::all().filter(|stream| stream.name() == name).collect();
        (!named.is_empty()).then_some(named)
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it holds this one.
    pub fn contains(self, stream: Stream) -> bool {
        self.0 & (1 << stream.0) != 0
    }

    /// Whether it holds all of these.
    pub fn contains_all(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// Adds one.
    pub fn insert(&mut self, stream: Stream) {
        self.0 |= 1 << stream.0;
    }

    /// These and those.
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These without those.
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Those it holds, in order.
    pub fn iter(self) -> impl Iterator<Item = Stream> {
        Stream::all().filter(move |stream| self.contains(*stream))
    }
}

impl FromIterator<Stream> for StreamSet {
    fn from_iter<I: IntoIterator<Item = Stream>>(streams: I) -> Self {
        let mut set = Self::default();
        streams.into_iter().for_each(|stream| set.insert(stream));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_name_of_a_stream_is_the_same_to_clients() {
        let both = StreamSet::named("agi-decisions").unwrap();
        assert_eq!(StreamSet::named("agi-events"), Some(both));
        assert_eq!(both.iter().map(Stream::key).collect::<Vec<_>>(), ["agi-decisions", "agi-events"]);
        assert!(both.iter().all(|stream| stream.name() == "agi-decisions"));
        assert!(both.iter().all(|stream| stream.socketio_event() == "agi-decision-event"));
    }

    #[test]
    fn every_stream_has_an_event_of_its_own() {
        let events: Vec<_> = Stream::all().map(Stream::socketio_event).collect();
        assert_eq!(
            events,
            [
                "model-event",
                "inference-event",
                "platform-event",
                "training-event",
                "agi-decision-event",
                "agi-decision-event",
                "error-event"
            ]
        );
        assert_eq!(StreamSet::named("other"), None);
        assert_eq!(StreamSet::ALL.iter().count(), COUNT);
    }
}
