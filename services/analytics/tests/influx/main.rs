//! What is written to InfluxDB and asked of it: the real one, VictoriaMetrics, and a server that answers as InfluxDB 2 is
//! documented to.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod answers;
mod documented;
mod real;
mod support;
