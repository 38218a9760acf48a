//! Python objects that are made when they are first asked for.
//!
//! Without a lock: PyO3's own `intern!` and `PyOnceLock` have one, and let go of the interpreter while they hold it; a
//! thread that was doing so when another one forks would leave the child waiting for ever.

use once_cell::race::OnceBox;
use pyo3::prelude::*;

/// A Python object that is made when it is first asked for; of several threads that make one, the first is heard.
pub(super) struct Lazy<T>(OnceBox<Py<T>>);

impl<T> Lazy<T> {
    pub(super) const fn new() -> Self {
        Self(OnceBox::new())
    }

    pub(super) fn get_or_init<'py>(
        &self,
        py: Python<'py>,
        make: impl FnOnce() -> Bound<'py, T>,
    ) -> &Bound<'py, T> {
        self.0.get_or_init(|| Box::new(make().unbind())).bind(py)
    }

    pub(super) fn get_or_try_init<'py>(
        &self,
        py: Python<'py>,
        make: impl FnOnce() -> PyResult<Bound<'py, T>>,
    ) -> PyResult<&Bound<'py, T>> {
        Ok(self.0.get_or_try_init(|| make().map(|object| Box::new(object.unbind())))?.bind(py))
    }
}

/// A text as the one Python string that stands for it wherever it is a name.
macro_rules! name {
    ($py:expr, $text:literal) => {{
        static NAME: $crate::python::lazy::Lazy<pyo3::types::PyString> = $crate::python::lazy::Lazy::new();
        let py = $py;
        NAME.get_or_init(py, || pyo3::types::PyString::intern(py, $text))
    }};
}

pub(super) use name;
