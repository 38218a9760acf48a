//! Events that are stored together, and what becomes of each.

use std::{mem, sync::Arc};

use synapse_rs::{
    EntryId,
    consumer::{Delivery, Settler},
};

use super::{age, told::Told};
use crate::{
    metrics,
    sample::Sample,
    store::{StoreError, Written},
};

/// What the dead letters of the store are called by.
const REFUSED: &str = "refused";
/// What those are called by of which no sample can be made.
const UNFIT: &str = "unfit";

/// Events that are to be stored, and what they say. Dropped before all are, it gives the rest back: that the store does not
/// take them is not their fault, and counts for nothing.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) samples: Vec<Sample>,
    /// Without their events.
    deliveries: Vec<Delivery>,
    settler: &'a Settler,
}

impl<'a> Batch<'a> {
    /// Reads events, and settles those that are not to be stored.
    pub(super) fn read(deliveries: Vec<Delivery>, settler: &'a Settler, told: &Told) -> Self {
        let mut batch = Self {
            samples: Vec::with_capacity(deliveries.len()),
            deliveries: Vec::with_capacity(deliveries.len()),
            settler,
        };
        let mut ignored = Vec::new();
        for mut delivery in deliveries {
            match Sample::of(&delivery.stream, delivery.id, mem::take(&mut delivery.event)) {
                Ok(Some(sample)) => {
                    told.received(&sample);
                    batch.samples.push(sample);
                    batch.deliveries.push(delivery);
                }
                Ok(None) => {
                    metrics::event(&delivery.stream, "ignored", 1);
                    ignored.push((delivery.stream, delivery.id));
                }
                Err(error) => {
                    metrics::event(&delivery.stream, UNFIT, 1);
                    tracing::warn!(stream = &*delivery.stream, id = %delivery.id, %error, "an event can't be stored");
                    settler.reject(&delivery, UNFIT, error.to_string());
                }
            }
        }
        settler.ack_all(&ignored);
        batch
    }

    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Settles what is decided and keeps the rest; what stands in the way of that.
    pub(super) fn settle(&mut self, written: Vec<Written>) -> Option<StoreError> {
        debug_assert_eq!(written.len(), self.samples.len(), "a store tells of each sample");
        let mut obstacle = None;
        let mut stored = Vec::with_capacity(written.len());
        let (samples, deliveries) = (mem::take(&mut self.samples), mem::take(&mut self.deliveries));
        for ((outcome, sample), delivery) in written.into_iter().zip(samples).zip(deliveries) {
            match outcome {
                Written::Stored => stored.push((delivery.stream, delivery.id)),
                Written::Refused(words) => {
                    metrics::event(&delivery.stream, REFUSED, 1);
                    tracing::warn!(
                        stream = &*delivery.stream, id = %delivery.id, reason = words,
                        "the store refuses an event; it goes to the dead letters"
                    );
                    self.settler.reject(&delivery, REFUSED, words);
                }
                Written::Waiting(error) => {
                    self.samples.push(sample);
                    self.deliveries.push(delivery);
                    obstacle.get_or_insert(error);
                }
            }
        }
        count(&stored);
        self.settler.ack_all(&stored);
        obstacle
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for delivery in &self.deliveries {
            self.settler.return_untried(delivery);
        }
    }
}

fn count(stored: &[(Arc<str>, EntryId)]) {
    for name in super::STREAMS {
        let own = stored.iter().filter(|(stream, _)| &**stream == name);
        if let Some((_, last)) = own.clone().next_back() {
            metrics::event(name, "stored", own.count());
            metrics::behind(name, age(last.ms));
        }
    }
}
