//! What the core logs, on its way to Python's `logging`.
//!
//! The core logs in the background thread, which must not wait for the interpreter: records go into a mailbox, from
//! which a thread of Python's hands them to loggers (`synapse_rs.publisher` and the like). Information and warnings,
//! which are rare, always go there, and the loggers decide. What is finer costs nothing unless a logger wants it, which
//! is looked at when records are handed over and when a publisher or a consumer is made.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use pyo3::prelude::*;
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::rebuild_interest_cache,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

use super::{lazy::name, mailbox::Mailbox, per_process::PerProcess, settings::seconds};

/// How many records may wait.
const MAX_RECORDS: usize = 1000;

/// Longer texts are cut.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Python's numbers of levels.
const TRACE: u8 = 5;
const DEBUG: u8 = 10;
const INFO: u8 = 20;
const WARNING: u8 = 30;
const ERROR: u8 = 40;

/// From which level on records are made.
static LEVEL: AtomicU8 = AtomicU8::new(INFO);

/// Whether the core's records come here: a program around Python may have its own place for them.
static IS_OURS: AtomicBool = AtomicBool::new(false);

static RECORDS: PerProcess<Mailbox<Record>> = PerProcess::new();

/// A level, a logger, a file and a line, a text, and seconds since 1970: what `logging` makes its record of.
type Record = (u8, String, Option<&'static str>, u32, String, f64);

/// Has the core's records come here, unless they go elsewhere already.
pub(super) fn install() {
    IS_OURS.store(tracing::subscriber::set_global_default(Bridge).is_ok(), Ordering::Relaxed);
}

/// Starts the thread that hands records over, in a process that has none.
pub(super) fn start(py: Python<'_>) -> PyResult<()> {
    if IS_OURS.load(Ordering::Relaxed) {
        py.import(name!(py, "synapse_rs._background"))?.call_method0(name!(py, "hand_over_records"))?;
    }
    Ok(())
}

/// Looks at which records are wanted.
pub(super) fn refresh(py: Python<'_>) -> PyResult<()> {
    py.import(name!(py, "synapse_rs._background"))?.call_method0(name!(py, "refresh_level"))?;
    Ok(())
}

/// Waits for records; with how many more there were for which there was no room. `None` at the end.
#[pyfunction]
pub(super) fn take_records(py: Python<'_>) -> Option<(Vec<Record>, u64)> {
    let taken = records().take(py)?;
    Some((taken.items.into(), taken.left_out))
}

/// There will be no more records; waits so many seconds at most until those there are were handed over.
#[pyfunction]
pub(super) fn end_records(py: Python<'_>, timeout: f64) -> PyResult<()> {
    let timeout = seconds("timeout", timeout)?;
    py.detach(|| {
        records().end();
        records().done(timeout);
    });
    Ok(())
}

/// From which of Python's levels on records are wanted.
#[pyfunction]
pub(super) fn set_record_level(level: u8) {
    let level = level.min(INFO);
    if LEVEL.swap(level, Ordering::Relaxed) != level && IS_OURS.load(Ordering::Relaxed) {
        rebuild_interest_cache();
    }
}

fn records() -> &'static Mailbox<Record> {
    RECORDS
        .get()
        .unwrap_or_else(|| RECORDS.get_or_set(Mailbox::new(MAX_RECORDS, MAX_RECORDS * MAX_TEXT_BYTES)).0)
}

/// Where the core's records come.
struct Bridge;

impl Subscriber for Bridge {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && is_own(metadata.target())
            && number(*metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            INFO.. => LevelFilter::INFO,
            DEBUG.. => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let text = Text::of(event);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        records().put(text.len(), || {
            (
                number(*metadata.level()),
                logger(metadata.target()),
                metadata.file(),
                metadata.line().unwrap_or_default(),
                text,
                at,
            )
        });
    }

    // The core opens no spans.

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Whether a record is of this crate, not of one that it uses.
fn is_own(target: &str) -> bool {
    target
        .strip_prefix(env!("CARGO_CRATE_NAME"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The logger for what a module says: that of its part of the crate, `synapse_rs.publisher`.
fn logger(target: &str) -> String {
    let mut parts = target.split("::");
    match (parts.next(), parts.next()) {
        (Some(name), Some(part)) => format!("{name}.{part}"),
        _ => target.to_owned(),
    }
}

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => ERROR,
        Level::WARN => WARNING,
        Level::INFO => INFO,
        Level::DEBUG => DEBUG,
        Level::TRACE => TRACE,
    }
}

/// A message with its fields behind it: `redis takes no events for now [reason=connection refused]`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn of(event: &Event<'_>) -> String {
        let mut text = Self::default();
        event.record(&mut text);
        let Self { mut message, fields } = text;
        if !fields.is_empty() {
            let _ = write!(message, " [{fields}]");
        }
        let end = message.floor_char_boundary(MAX_TEXT_BYTES);
        message.truncate(end);
        message
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to memory can't fail; a value's own way of showing itself may, and is cut there.
        let _ = if field.name() == "message" {
            write!(self.message, "{value}")
        } else {
            let comma = if self.fields.is_empty() { "" } else { ", " };
            write!(self.fields, "{comma}{}={value}", field.name())
        };
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}
