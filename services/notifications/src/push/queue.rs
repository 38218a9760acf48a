//! The pushes of notifications, kept in the database until they are sent or nobody wants them any more.
//!
//! Endpoints come from users, and some do not answer. So a process sends one push at a time to an endpoint, takes it only
//! then, and goes on with the endpoint that has waited longest; when one fails the others to its endpoint are not tried
//! before it has rested, for longer each time: whoever names slow ones holds up nobody else for long.

use std::{collections::HashSet, sync::Arc, time::Duration};

use synapse_rs::{backoff::Backoff, shutdown::Shutdown};
use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
    time::sleep,
};

use super::{Sender, message::LIFE, sender::PushError};
use crate::{
    metrics,
    notification::now_ms,
    store::{Fate, Push, Settled, Store, Subscription},
};

/// How long others leave a push alone that a process has taken: longer than it can take to send one.
const TAKEN_FOR_MS: i64 = 120_000;
/// How often a push is tried.
const MAX_ATTEMPTS: i64 = 8;
/// The first and the longest time before it is tried again; up to half as much is added, so that not all come at once.
const DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
/// How often the table is looked at although nobody said that there is something: replicas may have left it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Sends what is due, to `at_once` endpoints at a time, until `shutdown`; what is on its way then is finished.
pub async fn run(sender: Arc<Sender>, store: Store, at_once: usize, wake: Arc<Notify>, shutdown: Shutdown) {
    let mut backoff = Backoff::default();
    let (mut sending, mut busy) = (JoinSet::new(), HashSet::new());
    while !shutdown.is_cancelled() {
        if busy.len() >= at_once {
            ended(sending.join_next_with_id().await, &mut busy);
            continue;
        }
        let (now_ms, room) = (now_ms(), i64::try_from(at_once - busy.len()).unwrap_or(1));
        let but: Vec<String> = busy.iter().map(|(_, endpoint): &(_, String)| endpoint.clone()).collect();
        let pause = match store.take_pushes(now_ms, now_ms + TAKEN_FOR_MS, room, but.clone()).await {
            Ok(pushes) => {
                backoff.reset();
                let is_more = !pushes.is_empty();
                for push in pushes {
                    let (endpoint, sender, store) = (push.to.endpoint.clone(), sender.clone(), store.clone());
                    let task = sending.spawn(async move { send(&sender, &store, push).await });
                    busy.insert((task.id(), endpoint));
                }
                if is_more {
                    continue;
                }
                until_next(&store, &but).await
            }
            Err(error) => {
                metrics::database_failed("push");
                tracing::debug!(%error, "pushes can't be looked up");
                backoff.next_delay()
            }
        };
        // One that ends may have made another due.
        tokio::select! {
            () = wake.notified() => {}
            () = sleep(pause) => {}
            result = sending.join_next_with_id(), if !busy.is_empty() => ended(result, &mut busy),
            () = shutdown.cancelled() => {}
        }
    }
    while let Some(result) = sending.join_next_with_id().await {
        ended(Some(result), &mut busy);
    }
}

fn ended(result: Option<Result<(Id, ()), JoinError>>, busy: &mut HashSet<(Id, String)>) {
    let id = match result {
        Some(Ok((id, ()))) => id,
        Some(Err(error)) => {
            tracing::error!(%error, "a push broke; it is tried again");
            error.id()
        }
        None => return,
    };
    busy.retain(|(other, _)| *other != id);
}

async fn until_next(store: &Store, but: &[String]) -> Duration {
    match store.next_push_ms(but).await {
        Ok(Some(due_ms)) => {
            let left = u64::try_from(due_ms - now_ms()).unwrap_or_default();
            Duration::from_millis(left).min(LOOK_EVERY)
        }
        _ => LOOK_EVERY,
    }
}

/// Sends one and says what became of it.
async fn send(sender: &Sender, store: &Store, push: Push) {
    let left = Duration::from_millis(u64::try_from(push.expires_ms - now_ms()).unwrap_or_default());
    let result = if left.is_zero() {
        Err(PushError::TooLate)
    } else {
        sender.send(&push.to, &push.payload, left).await
    };
    forget_if_gone(store, &push.to, &result).await;
    let rests_until_ms = rests_until(&push, &result, now_ms(), fastrand::f64());
    let fate = fate_of(&push, &result, rests_until_ms);
    let settled = Settled {
        sequence: push.sequence,
        endpoint: push.to.endpoint.clone(),
        fate,
        now_ms: now_ms(),
        // What is wrong on our own side is not the subscription's fault.
        rests_until_ms: rests_until_ms.filter(|_| !matches!(result, Err(PushError::Own(_)))),
    };
    // Counted once it is written: until then, a process that ends has it sent again.
    if let Err(error) = store.settle_push(settled).await {
        metrics::database_failed("push");
        tracing::warn!(%error, "what became of a push is not written; it may be sent again");
    }
    metrics::pushed(match (&result, fate) {
        (Ok(()), _) => "sent",
        (Err(PushError::Gone(_)), _) => "gone",
        (Err(PushError::TooLate), _) => "given_up",
        (Err(_), Fate::Again { .. }) => "failed",
        (Err(error), _) if error.is_transient() => "given_up",
        (Err(_), _) => "refused",
    });
    match (&result, fate) {
        (Err(error), Fate::Again { .. }) => {
            metrics::push_retried();
            tracing::debug!(%error, attempts = push.attempts + 1, "a push is tried again");
        }
        (Err(error), _) => tracing::info!(%error, "a push is given up"),
        (Ok(()), _) => {}
    }
}

/// Forgets a subscription that its push service does not know any more.
pub(crate) async fn forget_if_gone(store: &Store, to: &Subscription, result: &Result<(), PushError>) {
    if let Err(PushError::Gone(_)) = result {
        match store.forget(to.clone()).await {
            Ok(true) => metrics::subscriptions_removed(1),
            // Somebody else was faster, or it was never kept.
            Ok(false) => {}
            Err(error) => {
                metrics::database_failed("unsubscribe");
                tracing::warn!(%error, "a subscription that is gone is still kept");
            }
        }
    }
}

/// Until when nothing more is sent to a subscription after this: if its push service was not well, or refused it.
fn rests_until(push: &Push, result: &Result<(), PushError>, now_ms: i64, spread: f64) -> Option<i64> {
    let after = match result {
        Err(PushError::Later { after: Some(after), .. }) => (*after).clamp(DELAY.0, LIFE),
        Err(PushError::Refused { .. }) => spread_out(push, spread),
        Err(error) if error.is_transient() => spread_out(push, spread),
        _ => return None,
    };
    Some(now_ms.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)))
}

fn spread_out(push: &Push, spread: f64) -> Duration {
    let exponent = u32::try_from(push.attempts.max(push.failures)).unwrap_or(u32::MAX);
    Backoff::new(DELAY.0, DELAY.1).ceiling(exponent).mul_f64(1.0 + spread / 2.0)
}

/// What becomes of a push after this.
fn fate_of(push: &Push, result: &Result<(), PushError>, rests_until_ms: Option<i64>) -> Fate {
    match (result, rests_until_ms) {
        (Ok(()), _) => Fate::Sent,
        (Err(error), Some(due_ms))
            if error.is_transient() && push.attempts + 1 < MAX_ATTEMPTS && due_ms < push.expires_ms =>
        {
            Fate::Again { due_ms }
        }
        _ => Fate::Over,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn push(attempts: i64, failures: i64) -> Push {
        let to = Subscription { endpoint: String::new(), p256dh: String::new(), auth: String::new() };
        Push { sequence: 1, to, payload: String::new(), attempts, expires_ms: 3_600_000, failures }
    }

    fn later(after: Option<u64>) -> Result<(), PushError> {
        let after = after.map(Duration::from_secs);
        Err(PushError::Later { status: StatusCode::SERVICE_UNAVAILABLE, after })
    }

    fn fate(push: &Push, result: &Result<(), PushError>, now_ms: i64) -> Fate {
        fate_of(push, result, rests_until(push, result, now_ms, 0.0))
    }

    #[test]
    fn what_may_be_taken_later_is_tried_again_and_later_each_time() {
        let due: Vec<_> = (0..7).map(|attempts| fate(&push(attempts, 0), &later(None), 0)).collect();
        let expected = [1, 2, 4, 8, 16, 32, 64].map(|seconds| Fate::Again { due_ms: seconds * 1_000 });
        assert_eq!(due, expected);
        assert_eq!(fate(&push(7, 0), &later(None), 0), Fate::Over, "the eighth attempt was the last");
        assert_eq!(
            rests_until(&push(0, 0), &later(None), 0, 1.0),
            Some(1_500),
            "spread over half as much again"
        );
    }

    #[test]
    fn a_subscription_that_keeps_failing_rests_for_longer_also_with_a_new_push() {
        assert_eq!(fate(&push(0, 5), &later(None), 0), Fate::Again { due_ms: 32_000 });
        assert_eq!(fate(&push(0, 50), &later(None), 0), Fate::Again { due_ms: 600_000 });
    }

    #[test]
    fn the_push_service_says_when_unless_that_is_too_late() {
        assert_eq!(fate(&push(0, 0), &later(Some(90)), 5), Fate::Again { due_ms: 90_005 });
        assert_eq!(fate(&push(0, 0), &later(Some(0)), 0), Fate::Again { due_ms: 1_000 }, "not at once");
        assert_eq!(fate(&push(0, 0), &later(Some(3_600)), 0), Fate::Over);
        assert_eq!(fate(&push(0, 0), &later(Some(u64::MAX)), 0), Fate::Over);
        let rests = rests_until(&push(0, 0), &later(Some(u64::MAX)), 0, 0.0);
        assert_eq!(rests, Some(3_600_000), "an hour at most, whatever it says");
    }

    #[test]
    fn what_is_sent_gone_or_refused_is_over() {
        let refused = || Err(PushError::Refused { status: StatusCode::FORBIDDEN, reason: String::new() });
        assert_eq!(fate(&push(0, 0), &Ok(()), 0), Fate::Sent);
        for result in [Err(PushError::Gone(StatusCode::GONE)), Err(PushError::TooLate), refused()] {
            assert_eq!(fate(&push(0, 0), &result, 0), Fate::Over);
        }
        assert_eq!(rests_until(&push(0, 0), &refused(), 0, 0.0), Some(1_000), "and not asked again at once");
    }
}
