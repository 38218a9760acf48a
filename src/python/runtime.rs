//! The one background thread of the module.
//!
//! It starts at first use, not at import. A child of `fork` finds by [`fork::generation`] that the
//! thread is its parent's, leaves everything inherited untouched (leaked, no lock taken) and starts
//! its own.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use pyo3::{
    IntoPyObjectExt as _,
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyDict, PyNone, PyTuple},
};
use pyo3_asyncio::{
    TaskLocals,
    generic::{self, ContextExt, JoinError, Runtime},
};
use tokio::{
    runtime::{Builder, Handle},
    sync::Semaphore,
};

use super::{errors::is_closed, lazy::name, logging, per_process::PerProcess};
use crate::{fork, shutdown::Shutdown};

/// How long the end of the process waits for the thread's.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a wait goes on without a look at signals.
pub(super) const SLICE: Duration = Duration::from_millis(100);

/// On how many threads at most results are handed to event loops: what they wait for is the interpreter, which is one.
const MAX_HANDING_OVER: usize = 4;

struct Host {
    handle: Handle,
    /// Apart from the limit of the runtime's threads, which also wait for disks and for `on_error`.
    handing_over: Semaphore,
    /// Ends the thread.
    stop: Shutdown,
    has_stopped: Mutex<bool>,
    stopped: Condvar,
}

static HOST: PerProcess<Host> = PerProcess::new();

/// The process that is ending, see [`fork::generation`]; none so far.
static ENDING: AtomicU64 = AtomicU64::new(u64::MAX);

/// Whether the interpreter of this process is ending: nothing is sent any more.
pub(super) fn is_ending() -> bool {
    ENDING.load(Ordering::Acquire) == fork::generation()
}

/// What is said to who publishes then.
pub(super) const ENDING_TEXT: &str = "the process is ending, nothing is sent any more; publish earlier";

/// The runtime of this process, started if it is not running.
pub(super) fn handle(py: Python<'_>) -> PyResult<&'static Handle> {
    if is_ending() {
        return Err(is_closed(ENDING_TEXT));
    }
    let host = match HOST.get() {
        Some(host) => host,
        None => start(py)?,
    };
    Ok(&host.handle)
}

fn start(py: Python<'_>) -> PyResult<&'static Host> {
    let failed = |error: std::io::Error| PyRuntimeError::new_err(format!("the background thread: {error}"));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (host, is_new) = HOST.get_or_set(Host {
        handle: runtime.handle().clone(),
        handing_over: Semaphore::new(MAX_HANDING_OVER),
        stop: Shutdown::new(),
        has_stopped: Mutex::new(false),
        stopped: Condvar::new(),
    });
    if !is_new {
        // Another thread was faster; this runtime, which never ran, goes.
        return Ok(host);
    }
    let run = move || {
        runtime.block_on(host.stop.cancelled());
        // Also ends the threads on which results are handed to event loops.
        runtime.shutdown_timeout(STOP_TIMEOUT);
        *host.has_stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        host.stopped.notify_all();
    };
    std::thread::Builder::new().name("synapse-io".to_owned()).spawn(run).map_err(failed)?;
    logging::start(py)?;
    Ok(host)
}

/// Ends the background thread of this process for good, or has none start: for the end of the interpreter.
///
/// A thread that came back to an interpreter which is being torn down would crash the process.
#[pyfunction]
pub(super) fn stop(py: Python<'_>) {
    ENDING.store(fork::generation(), Ordering::Release);
    let Some(host) = HOST.get() else { return };
    host.stop.cancel();
    // The thread may be waiting for the interpreter.
    py.detach(|| {
        let has_stopped = host.has_stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = host.stopped.wait_timeout_while(has_stopped, STOP_TIMEOUT, |has_stopped| !*has_stopped);
    });
}

/// Runs a future on the background thread and waits for it in this one. An exception of a signal's handler ends the
/// wait and the future.
pub(super) fn wait<F, T, E>(py: Python<'_>, future: F) -> PyResult<T>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<PyErr> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::sync_channel(1);
    let task = handle(py)?.spawn(async move {
        let _ = sender.send(future.await);
    });
    loop {
        // A receiver is of one thread at a time, so it goes along.
        let (came, back) = py.detach(move || (receiver.recv_timeout(SLICE), receiver));
        receiver = back;
        match came {
            Ok(result) => return result.map_err(Into::into),
            Err(RecvTimeoutError::Disconnected) => return Err(is_closed("the background thread has ended")),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(interrupt) = py.check_signals() {
                    task.abort();
                    return Err(interrupt);
                }
            }
        }
    }
}

/// A Python awaitable of a Rust future, run on the background thread.
///
/// Cancelling the awaitable drops the future.
pub(super) fn awaitable<'py, F, T, E>(py: Python<'py>, future: F) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: for<'p> IntoPyObject<'p> + Send + 'static,
    E: Into<PyErr> + Send + 'static,
{
    handle(py)?;
    let event_loop = py.import(name!(py, "asyncio"))?.call_method0(name!(py, "get_running_loop"))?;
    let locals = TaskLocals::new(Bound::new(py, OpenLoop(event_loop.unbind()))?.into_any());
    let future = async move { Ok(Answer(future.await)) };
    generic::future_into_py_with_locals::<Background, _, _>(py, locals, future)
}

/// As [`awaitable`], of nothing but that it is done.
pub(super) fn awaitable_none<F, E>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<PyErr> + Send + 'static,
{
    awaitable(py, async move { future.await.map(|()| Nothing) })
}

/// `None`, where `()` would be an empty tuple.
struct Nothing;

impl<'py> IntoPyObject<'py> for Nothing {
    type Target = PyNone;
    type Output = Borrowed<'py, 'py, PyNone>;
    type Error = Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyNone::get(py))
    }
}

/// An event loop for the bridge: one that was closed before an answer came is not an error.
#[pyclass(frozen)]
pub(super) struct OpenLoop(Py<PyAny>);

#[pymethods]
impl OpenLoop {
    fn create_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.bind(py).call_method0(name!(py, "create_future"))
    }

    #[pyo3(signature = (*arguments, **keywords))]
    fn call_soon_threadsafe(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let event_loop = self.0.bind(py);
        match event_loop.call_method(name!(py, "call_soon_threadsafe"), arguments, keywords) {
            Err(_) if event_loop.call_method0(name!(py, "is_closed"))?.is_truthy()? => Ok(()),
            called => called.map(drop),
        }
    }
}

/// What becomes an object or an exception where the interpreter is waited for, which the background thread must not.
struct Answer<T, E>(Result<T, E>);

impl<'py, T: IntoPyObject<'py>, E: Into<PyErr>> IntoPyObject<'py> for Answer<T, E> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        self.0.map_err(Into::into)?.into_bound_py_any(py)
    }
}

/// The background thread, as the bridge between asyncio and tokio knows it.
struct Background;

struct Ended(tokio::task::JoinError);

impl JoinError for Ended {
    fn is_panic(&self) -> bool {
        self.0.is_panic()
    }

    fn into_panic(self) -> Box<dyn std::any::Any + Send + 'static> {
        self.0.into_panic()
    }
}

/// That of this process, even when it has stopped: what is spawned then is dropped.
fn host() -> &'static Host {
    HOST.get().expect("the runtime was started before anything is spawned on it")
}

type Joined = Pin<Box<dyn Future<Output = Result<(), Ended>> + Send>>;

impl Runtime for Background {
    type JoinError = Ended;
    type JoinHandle = Joined;

    fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> Joined {
        let task = host().handle.spawn(future);
        Box::pin(async move { task.await.map_err(Ended) })
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(work: F) -> Joined {
        let host = host();
        let task = host.handle.spawn(async move {
            let _permit = host.handing_over.acquire().await;
            tokio::task::spawn_blocking(work).await
        });
        Box::pin(async move { task.await.flatten().map_err(Ended) })
    }
}

tokio::task_local! {
    static LOCALS: TaskLocals;
}

impl ContextExt for Background {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(locals, future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(Clone::clone).ok()
    }
}
