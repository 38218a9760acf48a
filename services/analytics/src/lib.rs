//! The analytics service: every inference and training event in a store, and answers from it.
//!
//! # Layout
//!
//! In reading order, along the path of an event:
//!
//! * [`sample`]: what an event says. [`store`]: where that is kept, and what can be asked.
//! * [`embedded`]: the store that needs no server.

pub mod embedded;
pub mod sample;
pub mod store;
