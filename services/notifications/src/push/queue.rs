//! The pushes of notifications, kept in the database until they are sent or nobody wants them any more.

use std::{sync::Arc, time::Duration};

use synapse_rs::{backoff::Backoff, shutdown::Shutdown};
use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
    time::sleep,
};

use super::{Sender, sender::PushError};
use crate::{
    metrics,
    notification::now_ms,
    store::{Fate, Push, Store, Subscription},
};

/// How long others leave a push alone that a process has taken: longer than it can take to send one.
const TAKEN_FOR_MS: i64 = 120_000;
/// How often a push is tried.
const MAX_ATTEMPTS: i64 = 8;
/// The first and the longest time before it is tried again.
const DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(10));
/// How often the table is looked at although nobody said that there is something: replicas may have left it.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Sends what is due, `at_once` at a time, until `shutdown`; what is on its way then is finished.
pub async fn run(sender: Arc<Sender>, store: Store, at_once: usize, wake: Arc<Notify>, shutdown: Shutdown) {
    let mut backoff = Backoff::default();
    let mut sending = JoinSet::new();
    while !shutdown.is_cancelled() {
        if sending.len() >= at_once {
            ended(sending.join_next().await);
            continue;
        }
        let (now_ms, room) = (now_ms(), i64::try_from(at_once - sending.len()).unwrap_or(1));
        let pause = match store.take_pushes(now_ms, now_ms + TAKEN_FOR_MS, room).await {
            Ok(pushes) => {
                backoff.reset();
                let is_more = !pushes.is_empty();
                for push in pushes {
                    let (sender, store) = (sender.clone(), store.clone());
                    sending.spawn(async move { send(&sender, &store, push).await });
                }
                if is_more {
                    continue;
                }
                until_next(&store).await
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
            Some(result) = sending.join_next() => ended(Some(result)),
            () = shutdown.cancelled() => {}
        }
    }
    while let Some(result) = sending.join_next().await {
        ended(Some(result));
    }
}

fn ended(result: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = result {
        tracing::error!(%error, "a push broke; it is tried again");
    }
}

async fn until_next(store: &Store) -> Duration {
    match store.next_push_ms().await {
        Ok(Some(due_ms)) => {
            let left = u64::try_from(due_ms - now_ms()).unwrap_or_default();
            Duration::from_millis(left).min(LOOK_EVERY)
        }
        _ => LOOK_EVERY,
    }
}

/// Sends one and says what became of it.
async fn send(sender: &Sender, store: &Store, push: Push) {
    let result = if push.expires_ms <= now_ms() {
        Err(PushError::TooLate)
    } else {
        sender.send(&push.to, &push.payload).await
    };
    forget_if_gone(store, &push.to, &result).await;
    let fate = fate_of(&push, &result, now_ms());
    // Counted once it is written: until then, a process that ends has it sent again.
    if let Err(error) = store.settle_push(push.sequence, fate).await {
        metrics::database_failed("push");
        tracing::warn!(%error, "what became of a push is not written; it may be sent again");
    }
    metrics::pushed(match (&result, fate) {
        (Ok(()), _) => "sent",
        (Err(PushError::Gone(_)), _) => "gone",
        (Err(PushError::TooLate), _) => "given_up",
        (Err(error), Fate::Over) if error.is_transient() => "given_up",
        (Err(_), Fate::Over) => "refused",
        (Err(_), Fate::Again { .. }) => "failed",
    });
    match (&result, fate) {
        (Err(error), Fate::Again { .. }) => {
            metrics::push_retried();
            tracing::debug!(%error, attempts = push.attempts + 1, "a push is tried again");
        }
        (Err(error), Fate::Over) => tracing::info!(%error, "a push is given up"),
        (Ok(()), _) => {}
    }
}

/// Forgets a subscription that its push service does not know any more.
pub(crate) async fn forget_if_gone(store: &Store, to: &Subscription, result: &Result<(), PushError>) {
    if let Err(PushError::Gone(_)) = result {
        match store.unsubscribe(None, to.endpoint.clone()).await {
            Ok(true) => metrics::subscription_removed(),
            // Somebody else was faster, or it was never kept.
            Ok(false) => {}
            Err(error) => {
                metrics::database_failed("unsubscribe");
                tracing::warn!(%error, "a subscription that is gone is still kept");
            }
        }
    }
}

/// What becomes of a push after this.
fn fate_of(push: &Push, result: &Result<(), PushError>, now_ms: i64) -> Fate {
    let attempts = push.attempts + 1;
    let after = match result {
        Err(PushError::Later { after: Some(after), .. }) => *after,
        Err(error) if error.is_transient() => {
            let exponent = u32::try_from(push.attempts).unwrap_or(u32::MAX);
            Backoff::new(DELAY.0, DELAY.1).ceiling(exponent)
        }
        _ => return Fate::Over,
    };
    let after_ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    let due_ms = now_ms.saturating_add(after_ms);
    if attempts >= MAX_ATTEMPTS || due_ms >= push.expires_ms { Fate::Over } else { Fate::Again { due_ms } }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn push(attempts: i64) -> Push {
        let to = Subscription { endpoint: String::new(), p256dh: String::new(), auth: String::new() };
        Push { sequence: 1, to, payload: String::new(), attempts, expires_ms: 3_600_000 }
    }

    fn later(after: Option<u64>) -> Result<(), PushError> {
        let after = after.map(Duration::from_secs);
        Err(PushError::Later { status: StatusCode::SERVICE_UNAVAILABLE, after })
    }

    #[test]
    fn what_may_be_taken_later_is_tried_again_and_later_each_time() {
        let due: Vec<_> = (0..7).map(|attempts| fate_of(&push(attempts), &later(None), 0)).collect();
        let expected = [1, 2, 4, 8, 16, 32, 64].map(|seconds| Fate::Again { due_ms: seconds * 1_000 });
        assert_eq!(due, expected);
        assert_eq!(fate_of(&push(7), &later(None), 0), Fate::Over, "the eighth attempt was the last");
    }

    #[test]
    fn the_push_service_says_when_unless_that_is_too_late() {
        assert_eq!(fate_of(&push(0), &later(Some(90)), 5), Fate::Again { due_ms: 90_005 });
        assert_eq!(fate_of(&push(0), &later(Some(3_600)), 0), Fate::Over);
        assert_eq!(fate_of(&push(0), &later(Some(u64::MAX)), 0), Fate::Over);
    }

    #[test]
    fn what_is_sent_gone_or_refused_is_over() {
        let refused = PushError::Refused { status: StatusCode::FORBIDDEN, reason: String::new() };
        for result in [Ok(()), Err(PushError::Gone(StatusCode::GONE)), Err(PushError::TooLate), Err(refused)]
        {
            assert_eq!(fate_of(&push(0), &result, 0), Fate::Over);
        }
    }
}
