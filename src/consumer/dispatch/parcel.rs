//! What goes through a dispatcher: entries that come, go to handlers, and leave.

use std::sync::Arc;

use super::Place;
use crate::{Event, stream::Entry};

/// An entry on its way to a handler, for the `deliveries`th time.
#[derive(Clone, Debug)]
pub(in crate::consumer) struct Parcel {
    pub place: Place,
    pub deliveries: u32,
    pub body: Body,
}

/// What is in a parcel.
#[derive(Clone, Debug)]
pub(in crate::consumer) enum Body {
    /// As it came: decoded by who takes it.
    Entry(Entry),
    /// Decoded, since it had to be looked into.
    Event(Event),
}

/// What an entry that was read turned out to be.
#[derive(Clone, Debug)]
pub(in crate::consumer) enum Content {
    /// For the handler: the key by which it is ordered if it is, and its size.
    Parcel { parcel: Parcel, key: Option<Arc<str>>, size_bytes: usize },
    /// Nothing for the handler.
    Nothing,
    /// It can't be read.
    Undecodable(String),
}

/// An entry that goes to the dead letters.
#[derive(Clone, Debug)]
pub(in crate::consumer) struct Burial {
    pub place: Place,
    pub reason: &'static str,
    pub error: String,
    pub deliveries: u32,
}

/// An entry that is given back.
#[derive(Clone, Copy, Debug)]
pub(in crate::consumer) struct Release {
    pub place: Place,
    /// How often a handler was given it.
    pub tried: u32,
    /// Whether somebody may take it over at once, or only after `min_idle`.
    pub at_once: bool,
}

/// An entry that is to be read again.
#[derive(Clone, Copy, Debug)]
pub(in crate::consumer) struct Due {
    pub place: Place,
    /// The number of its next delivery.
    pub deliveries: u32,
    /// What Redis is to count.
    pub count: u32,
}
