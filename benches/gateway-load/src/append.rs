//! The events, straight to Redis.

use std::{
    cell::RefCell,
    error::Error,
    rc::Rc,
    time::{Duration, Instant},
};

use memchr::memmem;
use redis::{AsyncConnectionConfig, Pipeline, RedisError, aio::MultiplexedConnection};
use tokio::time::{MissedTickBehavior, interval};

use crate::options::{Deliver, Target};

/// The stream that all are on.
pub(crate) const STREAM: &str = "inference-events";
/// Commands per pipeline where no rate is set.
pub(crate) const PIPELINE: usize = 50;
const TICKS_PER_SECOND: u32 = 1_000;

/// When each event was handed to Redis; kept only where the load is steady, for in a burst it says nothing.
pub(crate) struct SendTimes(RefCell<Vec<Option<Instant>>>);

impl SendTimes {
    pub(crate) fn new(options: &Deliver) -> Self {
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
pub(crate) async fn all(options: Rc<Deliver>, sent: Rc<SendTimes>) -> Result<(), Box<dyn Error>> {
    let mut connection = connect(&options.redis).await?;
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
            let user = match options.to {
                Target::Everyone => String::new(),
                Target::Users => user(number % options.clients),
            };
            add(&mut pipeline, number as u64, &user);
            sent.set(number);
        }
        pipeline.exec_async(&mut connection).await?;
    }
    Ok(())
}

/// A connection to Redis that may take its time: this process may have other things to do than to read answers.
pub(crate) async fn connect(url: &str) -> Result<MultiplexedConnection, RedisError> {
    let patient = AsyncConnectionConfig::new().set_response_timeout(None);
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&patient).await
}

/// One inference of eleven fields, about 200 bytes; its number is in `request_id`. Without a user it is for everyone.
pub(crate) fn add(pipeline: &mut Pipeline, number: u64, user: &str) {
    pipeline
        .cmd("XADD")
        .arg(STREAM)
        .arg(&["MAXLEN", "~", "1000000", "*"])
        .arg(&["event", "inference-complete", "model_name", "task-classifier", "version", "2.0"])
        .arg(&["latency_ms", "45.2", "user_id", user, "request_id", &number.to_string()])
        .arg(&["tokens_used", "123", "confidence", "0.92", "success", "true"])
        .arg(&["timestamp", "2026-11-23T09:04:54.440386Z", "source", "cyrex"])
        .ignore();
}

/// The number of the event in this message.
pub(crate) fn number_in(message: &[u8]) -> u64 {
    const BEFORE: &[u8] = b"\"request_id\":\"";
    let Some(at) = memmem::find(message, BEFORE) else { return 0 };
    let digits = message[at + BEFORE.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
