//! The events, straight to Redis.

use std::{
    cell::RefCell,
    error::Error,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::options::{Options, Target};

const STREAM: &str = "inference-events";
/// Commands per pipeline where no rate is set.
const PIPELINE: usize = 50;
const TICKS_PER_SECOND: u32 = 1_000;

/// When each event was handed to Redis; kept only where the load is steady, for in a burst it says nothing.
pub(crate) struct SendTimes(RefCell<Vec<Option<Instant>>>);

impl SendTimes {
    pub(crate) fn new(options: &Options) -> Self {
        Self(RefCell::new(vec![None; options.rate.map_or(0, |_| options.events)]))
    }

    fn set(&self, number: usize) {
        if let Some(at) = self.0.borrow_mut().get_mut(number) {
            *at = Some(Instant::now());
        }
    }

    /// How long ago this event was sent; none if that was not kept.
    pub(crate) fn age(&self, number: u64) -> Option<Duration> {
        let sent = *self.0.borrow().get(usize::try_from(number).ok()?)?;
        sent.map(|at| at.elapsed())
    }
}

/// The user that the client of this number is.
pub(crate) fn user(client: usize) -> String {
    format!("user-{client}")
}

/// Appends all events, in pipelines of 50 or at the rate that was asked for.
pub(crate) async fn all(options: Rc<Options>, sent: Rc<SendTimes>) -> Result<(), Box<dyn Error>> {
    let client = redis::Client::open(options.redis.as_str())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let numbers: Vec<usize> = (0..options.events).collect();
    let per_batch = options.rate.map_or(PIPELINE, |rate| (rate / TICKS_PER_SECOND).max(1) as usize);
    let mut ticks = options.rate.map(|rate| {
        let mut ticks = interval(Duration::from_secs_f64(per_batch as f64 / f64::from(rate)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    });
    for batch in numbers.chunks(per_batch) {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let mut pipeline = redis::pipe();
        for &number in batch {
            add(&mut pipeline, number, &options);
            sent.set(number);
        }
        pipeline.exec_async(&mut connection).await?;
    }
    Ok(())
}

/// One inference of eleven fields, about 200 bytes; its number is in `request_id`.
fn add(pipeline: &mut redis::Pipeline, number: usize, options: &Options) {
    let user = match options.to {
        Target::Everyone => String::new(),
        Target::Users => user(number % options.clients),
    };
    pipeline
        .cmd("XADD")
        .arg(STREAM)
        .arg(&["MAXLEN", "~", "1000000", "*"])
        .arg(&["event", "inference-complete", "model_name", "task-classifier", "version", "2.0"])
        .arg(&["latency_ms", "45.2", "user_id", &user, "request_id", &number.to_string()])
        .arg(&["tokens_used", "123", "confidence", "0.92", "success", "true"])
        .arg(&["timestamp", "2026-11-23T09:04:54.440386Z", "source", "cyrex"])
        .ignore();
}
