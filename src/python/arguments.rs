//! Arguments of Python's that are judged when their names are known: PyO3's own errors tell neither name nor value.

use std::time::Duration;

use pyo3::{
    Borrowed,
    exceptions::{PyOverflowError, PyTypeError, PyValueError},
    prelude::*,
};

use super::{json::repr, settings::seconds};

/// What was given, if it is a `T`.
pub(super) enum Given<T> {
    Right(T),
    /// It is something else.
    Wrong(String),
    /// It is of the right type, and no `T`.
    OutOfRange(String),
}

impl<'a, 'py, T: FromPyObject<'a, 'py>> FromPyObject<'a, 'py> for Given<T> {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        Ok(match object.extract::<T>().map_err(Into::<PyErr>::into) {
            Ok(value) => Self::Right(value),
            Err(error)
                if error.is_instance_of::<PyOverflowError>(py)
                    || error.is_instance_of::<PyValueError>(py) =>
            {
                Self::OutOfRange(repr(&object))
            }
            Err(error) if error.is_instance_of::<PyTypeError>(py) => Self::Wrong(repr(&object)),
            Err(error) => return Err(error),
        })
    }
}

impl<T> Given<T> {
    /// The value; `expected` is said of any other.
    pub(super) fn named(self, name: &str, expected: &str) -> PyResult<T> {
        match self {
            Self::Right(value) => Ok(value),
            Self::Wrong(found) => {
                Err(PyTypeError::new_err(format!("{name} is {found}, expected {expected}")))
            }
            Self::OutOfRange(found) => {
                Err(PyValueError::new_err(format!("{name} is {found}, expected {expected}")))
            }
        }
    }
}

impl Given<u64> {
    /// A whole number of at least so much.
    pub(super) fn whole(self, name: &str, least: u64) -> PyResult<u64> {
        let expected = format!("a whole number from {least}, below 2**64");
        let given = match self {
            Self::Right(value) if value < least => Self::OutOfRange(value.to_string()),
            other => other,
        };
        given.named(name, &expected)
    }

    /// As [`Given::whole`], for sizes in memory.
    pub(super) fn size(self, name: &str, least: u64) -> PyResult<usize> {
        let value = self.whole(name, least)?;
        usize::try_from(value).or_else(|_| Self::OutOfRange(value.to_string()).named(name, "less").map(|_| 0))
    }
}

impl Given<f64> {
    /// A time in seconds.
    pub(super) fn seconds(self, name: &str) -> PyResult<Duration> {
        seconds(name, self.named(name, "a number of seconds")?)
    }
}

impl<'a> Given<&'a str> {
    /// The name of a stream; how long it may be is for the publisher to say.
    pub(super) fn stream(self) -> PyResult<&'a str> {
        self.named("stream", "the name of a stream")
    }
}
