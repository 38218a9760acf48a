//! The one background thread of the module.
//!
//! It starts at first use, not at import. A child of `fork` finds by [`fork::generation`] that the
//! thread is its parent's, leaves everything inherited untouched (leaked, no lock taken) and starts
//! its own.

use std::{
    pin::Pin,
    ptr,
    sync::{
        atomic::{AtomicPtr, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use pyo3_asyncio::{
    TaskLocals,
    generic::{self, ContextExt, JoinError, Runtime},
};
use tokio::runtime::{Builder, Handle};

use super::errors::is_closed;
use crate::{fork, shutdown::Shutdown};

/// How long the end of the process waits for the thread's.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a wait goes on without a look at signals.
pub(super) const SLICE: Duration = Duration::from_millis(100);

struct Host {
    generation: u64,
    handle: Handle,
    /// Ends the thread.
    stop: Shutdown,
    has_stopped: Mutex<bool>,
    stopped: Condvar,
}

static HOST: AtomicPtr<Host> = AtomicPtr::new(ptr::null_mut());

/// The runtime of this process, started if it is not running.
pub(super) fn handle() -> PyResult<&'static Handle> {
    let generation = fork::generation();
    loop {
        let current = HOST.load(Ordering::Acquire);
        if let Some(host) = leaked(current)
            && host.generation == generation
        {
            return Ok(&host.handle);
        }
        let (host, runtime) = start(generation)?;
        let host: &'static Host = Box::leak(Box::new(host));
        if HOST
            .compare_exchange(current, ptr::from_ref(host).cast_mut(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            let thread = std::thread::Builder::new().name("synapse-io".to_owned());
            let run = move || {
                runtime.block_on(host.stop.cancelled());
                // Also ends the threads on which results are handed to event loops.
                runtime.shutdown_timeout(STOP_TIMEOUT);
                *host.has_stopped.lock() = true;
                host.stopped.notify_all();
            };
            thread
                .spawn(run)
                .map_err(|error| PyRuntimeError::new_err(format!("the background thread: {error}")))?;
            return Ok(&host.handle);
        }
        // Another thread was faster; this runtime, which never ran, goes.
    }
}

fn start(generation: u64) -> PyResult<(Host, tokio::runtime::Runtime)> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| PyRuntimeError::new_err(format!("the background runtime: {error}")))?;
    let handle = runtime.handle().clone();
    let (stop, has_stopped, stopped) = (Shutdown::new(), Mutex::new(false), Condvar::new());
    Ok((Host { generation, handle, stop, has_stopped, stopped }, runtime))
}

/// Ends the background thread of this process, if there is one, for good: for the end of the interpreter.
///
/// A thread that came back to an interpreter which is being torn down would crash the process.
#[pyfunction]
pub(super) fn stop(py: Python<'_>) {
    let Some(host) = leaked(HOST.load(Ordering::Acquire)) else { return };
    if host.generation != fork::generation() {
        return;
    }
    host.stop.cancel();
    // The thread may be waiting for the interpreter.
    py.detach(|| {
        let mut has_stopped = host.has_stopped.lock();
        host.stopped.wait_while_for(&mut has_stopped, |has_stopped| !*has_stopped, STOP_TIMEOUT);
    });
}

#[expect(unsafe_code, reason = "an atomic pointer is the only shared place that needs no lock after a fork")]
fn leaked(host: *mut Host) -> Option<&'static Host> {
    // SAFETY: the pointer is null, or came from `Box::leak` in `handle` and is never freed.
    unsafe { host.as_ref() }
}

/// Runs a future on the background thread and waits for it in this one; a signal's exception ends the wait and the future.
pub(super) fn wait<F, T>(py: Python<'_>, future: F) -> PyResult<T>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: Send + 'static,
{
    let (sender, mut receiver) = mpsc::sync_channel(1);
    let task = handle()?.spawn(async move {
        let _ = sender.send(future.await);
    });
    loop {
        // A receiver is of one thread at a time, so it goes along.
        let (came, back) = py.detach(move || (receiver.recv_timeout(SLICE), receiver));
        receiver = back;
        match came {
            Ok(result) => return result,
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
pub(super) fn awaitable<'py, F, T>(py: Python<'py>, future: F) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'p> IntoPyObject<'p> + Send + 'static,
{
    handle()?;
    generic::future_into_py::<Background, F, T>(py, future)
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

type Joined = Pin<Box<dyn Future<Output = Result<(), Ended>> + Send>>;

impl Runtime for Background {
    type JoinError = Ended;
    type JoinHandle = Joined;

    fn spawn<F: Future<Output = ()> + Send + 'static>(future: F) -> Joined {
        let task = handle().expect("the runtime was started before anything is spawned on it").spawn(future);
        Box::pin(async move { task.await.map_err(Ended) })
    }

    fn spawn_blocking<F: FnOnce() + Send + 'static>(work: F) -> Joined {
        let task =
            handle().expect("the runtime was started before anything is spawned on it").spawn_blocking(work);
        Box::pin(async move { task.await.map_err(Ended) })
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
