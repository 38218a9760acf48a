//! Every point stored, or refused for its own sake.
//!
//! A server refuses a whole body for one bad point, or stores the others and says so. Points stored twice are the same
//! points, so in either case the body is cut in two and each half sent again, until what is refused is one point alone.

use std::{ops::Range, time::Duration};

use axum::body::Bytes;
use tokio::time::{Instant, sleep};

use super::{
    body::{Portion, compressed, portions},
    client::{Answer, Server},
};
use crate::{
    metrics,
    sample::Sample,
    store::{StoreError, Written},
};

/// How often points are sent that the server broke on, before they are suspected themselves.
const TRIES: u32 = 3;
/// How often one that is suspected is sent again, each time beside a point that the server takes, before it is refused.
const LAST_TRIES: u32 = 3;
/// How long it is left alone between two tries, at first.
const PAUSE: Duration = Duration::from_millis(200);

/// Stores samples, and says what became of each.
pub(super) async fn write(server: &Server, samples: &[Sample]) -> Result<Vec<Written>, StoreError> {
    let began = Instant::now();
    let settings = &server.settings;
    let mut written = vec![None; samples.len()];
    let mut obstacle = None;
    for portion in portions(samples, settings.has_user_tag, server.body_bytes(), &mut written) {
        if let Err(error) = write_portion(server, &portion, &mut written).await {
            obstacle = Some(error);
            break;
        }
        // Encoding and compressing has kept the thread for a while.
        tokio::task::yield_now().await;
    }
    metrics::store_took("write", began.elapsed());
    match obstacle {
        Some(error) if written.iter().all(Option::is_none) => Err(error),
        obstacle => {
            let waiting =
                Written::Waiting(obstacle.unwrap_or_else(|| StoreError::unavailable("not sent yet")));
            Ok(written.into_iter().map(|outcome| outcome.unwrap_or_else(|| waiting.clone())).collect())
        }
    }
}

/// Sends what is left of a portion until all of it is decided.
async fn write_portion(
    server: &Server,
    portion: &Portion,
    written: &mut [Option<Written>],
) -> Result<(), StoreError> {
    // The next one on top, so that points go in their order.
    let mut left: Vec<_> = std::iter::once(0..portion.len()).collect();
    while let Some(lines) = left.pop() {
        let refuse = |written: &mut [Option<Written>], words: String| {
            portion
                .samples(lines.clone())
                .for_each(|place| written[place] = Some(Written::Refused(words.clone())));
        };
        match send(server, portion, lines.clone()).await? {
            Answer::Stored => {
                portion.samples(lines.clone()).for_each(|place| written[place] = Some(Written::Stored));
                metrics::points_written(lines.len());
            }
            Answer::Refused { words, .. } | Answer::TooLarge(words) | Answer::Broken(words)
                if lines.len() == 1 =>
            {
                refuse(written, words);
            }
            Answer::Refused { dropped, .. } if dropped.is_some_and(|dropped| dropped >= lines.len() / 2) => {
                // With so many bad ones halving would only send them more often.
                left.extend(lines.rev().map(|line| line..line + 1));
                metrics::split();
            }
            _ => {
                let middle = lines.start + lines.len() / 2;
                left.extend([middle..lines.end, lines.start..middle]);
                metrics::split();
            }
        }
    }
    Ok(())
}

/// Sends these lines; [`Answer::Broken`] only where it must be for their own sake.
async fn send(server: &Server, portion: &Portion, lines: Range<usize>) -> Result<Answer, StoreError> {
    let text = portion.text(lines.clone());
    let body = compressed(text);
    let (mut tries, mut last_tries) = (1, 0);
    loop {
        metrics::batch_sent(lines.len(), text.len(), body.len());
        let words = match server.write(body.clone()).await? {
            Answer::Stored => {
                let first = portion.text(lines.start..lines.start + 1);
                *server.known_line.lock() = Some(Bytes::copy_from_slice(first));
                return Ok(Answer::Stored);
            }
            Answer::NoDatabase(words) if tries == TRIES => return Err(server.away(&words)),
            Answer::NoDatabase(_) => {
                server.create_database().await?;
                tries += 1;
                continue;
            }
            Answer::Broken(words) => words,
            answer => return Ok(answer),
        };
        if tries < TRIES {
            sleep(PAUSE * (1 << tries)).await;
            tries += 1;
        } else if !takes_points(server).await? {
            return Err(server.away(&format!("answers {words}")));
        } else if lines.len() > 1 || last_tries == LAST_TRIES {
            return Ok(Answer::Broken(words));
        } else {
            // It works again, maybe since a moment ago.
            sleep(PAUSE * (1 << last_tries)).await;
            last_tries += 1;
        }
    }
}

/// Whether it does its work on a point of which little can be wrong: one that it has, or else a new one. To refuse it, for
/// example because its time is over, is work too.
async fn takes_points(server: &Server) -> Result<bool, StoreError> {
    let known = server.known_line.lock().clone();
    let new = || format!("synapse_probe value=1i {}\n", jiff::Timestamp::now().as_nanosecond()).into();
    let answer = server.write(compressed(&known.unwrap_or_else(new))).await?;
    Ok(matches!(answer, Answer::Stored | Answer::Refused { .. }))
}
