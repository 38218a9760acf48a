//! What may be asked: windows, steps, names.

use std::time::{Duration, SystemTime};

use synapse_chassis::{
    error::ApiError,
    request::{Query, cut},
    settings::parse_duration,
};

use crate::{
    sample::PointTime,
    store::{MAX_ROWS, StoreError, Window},
};

/// The longest name of a user, a model, an experiment, a metric or a tag, in characters.
pub const MAX_NAME: usize = 256;
/// The window that is asked about if none is given.
const DEFAULT_WINDOW: &str = "15m";
/// Into how many steps a window is cut if none is given.
const DEFAULT_STEPS: u32 = 60;
/// The shortest step.
const MIN_STEP: Duration = Duration::from_secs(1);

/// Refuses what nobody and nothing is called.
pub fn check_name(field: &str, name: &str) -> Result<(), ApiError> {
    match name.chars().count() {
        0 => Err(ApiError::bad_field(field, "is empty")),
        1..=MAX_NAME => Ok(()),
        long => {
            Err(ApiError::bad_field(field, format!("has {long} characters, expected {MAX_NAME} at most")))
        }
    }
}

/// The window up to now that a query asks about.
pub fn window(query: &Query<'_>, longest: Duration) -> Result<Window, ApiError> {
    let text = query.one("window")?.unwrap_or(DEFAULT_WINDOW);
    let length = duration("window", text)?;
    if length > longest {
        return Err(ApiError::bad_field(
            "window",
            format!("is {:?}, expected {longest:?} at most (ANALYTICS_MAX_WINDOW)", cut(text)),
        ));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ns = |since: Duration| PointTime::from_ns(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
    Ok(Window { from: ns(now.saturating_sub(length)), to: ns(now) })
}

/// The step that a query asks for; so many that a window has at most [`MAX_ROWS`] of them.
pub fn step(query: &Query<'_>, window: Window) -> Result<Duration, ApiError> {
    match query.one("step")? {
        Some(text) => check_step(duration("step", text)?, window),
        None => Ok((window.length() / DEFAULT_STEPS).max(MIN_STEP)),
    }
}

/// Refuses steps that are too short, or too many.
pub fn check_step(step: Duration, window: Window) -> Result<Duration, ApiError> {
    if step < MIN_STEP {
        return Err(ApiError::bad_field("step", format!("is {step:?}, expected {MIN_STEP:?} at least")));
    }
    if window.length().as_nanos() / step.as_nanos() >= MAX_ROWS as u128 {
        let reason =
            format!("cuts the window into more than {MAX_ROWS}; ask for a longer step or a shorter window");
        return Err(ApiError::bad_field("step", reason));
    }
    Ok(step)
}

/// A duration longer than none.
pub fn duration(field: &str, text: &str) -> Result<Duration, ApiError> {
    let longest = Duration::from_hours(24 * 36_600);
    parse_duration(text).filter(|duration| !duration.is_zero() && *duration <= longest).ok_or_else(|| {
        let reason = format!("is {:?}, expected a duration such as 30s, 15m, 24h or 7d", cut(text));
        ApiError::bad_field(field, reason)
    })
}

/// A time as RFC 3339, as an answer has it.
pub fn shown(time: PointTime) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.ns())).unwrap_or_default().to_string()
}

/// What the store could not do is told by what the client can do about it; the rest is for the log.
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { reason, .. } => {
                tracing::warn!(reason, "a request could not ask the store");
                Self::unavailable("store_unavailable", "the store does not answer for the moment; try again")
            }
            StoreError::Slow(_) => Self::unavailable("too_slow", error.to_string()),
            StoreError::Unanswerable(reason) => Self::bad_request("unanswerable", reason.clone()),
            StoreError::Failed(_) => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<(Window, Duration), ApiError> {
        let query = Query::read(Some(query), &["window", "step"]).unwrap();
        let window = window(&query, Duration::from_hours(24))?;
        Ok((window, step(&query, window)?))
    }

    #[test]
    fn a_window_ends_now_and_has_steps() {
        let (window, step) = asked("window=2h&step=90s").unwrap();
        assert_eq!((window.length(), step), (Duration::from_hours(2), Duration::from_secs(90)));
        assert_eq!(asked("").unwrap().1, Duration::from_secs(15));
        assert_eq!(asked("window=5s").unwrap().1, MIN_STEP);
    }

    #[test]
    fn what_can_not_be_asked_names_the_parameter() {
        for (query, field) in [
            ("window=0", "window"),
            ("window=soon", "window"),
            ("window=25h", "window"),
            ("window=1e99", "window"),
            ("step=500ms", "step"),
            ("window=24h&step=1s", "step"),
        ] {
            assert_eq!(asked(query).unwrap_err().field.as_deref(), Some(field), "{query}");
        }
    }
}
