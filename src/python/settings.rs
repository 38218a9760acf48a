//! Settings as Python gives them.

use std::time::Duration;

use pyo3::{exceptions::PyValueError, prelude::*};

use crate::{config::RedisSettings, stream::EntryId, tail::After};

/// The longest time that can be asked for; longer ones overflow clocks.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// Seconds of a setting; refused if negative, not a number or longer than a year.
pub(super) fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    let longest = LONGEST.as_secs_f64();
    if (0.0..=longest).contains(&value) {
        return Ok(Duration::from_secs_f64(value));
    }
    Err(PyValueError::new_err(format!("{name} is {value:?}, expected seconds from 0 to {longest}")))
}

/// The address of Redis.
pub(super) fn redis(url: &str) -> PyResult<RedisSettings> {
    Ok(RedisSettings::from_url(url)?)
}

/// Where to begin reading: `$` or an entry id.
pub(super) fn after(text: &str) -> PyResult<After> {
    if text == "$" {
        return Ok(After::Now);
    }
    match text.parse::<EntryId>() {
        Ok(id) => Ok(After::Entry(id)),
        Err(error) => Err(PyValueError::new_err(format!("after: {error}; or $ for what comes from now on"))),
    }
}
