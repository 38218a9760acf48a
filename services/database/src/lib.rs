//! Where a service keeps what must not be lost: SQLite in its data directory, or PostgreSQL.
//!
//! What is written is a [`Change`]: all of it is committed, or none. On SQLite changes that come at the same time are
//! committed together, by one writer, with one sync of the disk; on PostgreSQL each has a transaction of its own. An answer
//! comes after the commit.
//!
//! # Layout
//!
//! * [`settings`]: which database, and where.
//! * [`open`]: connecting, migrations, the lock against a second process on SQLite.
//! * [`Database`]: reading and writing. `group_commit`: the one writer of SQLite. `transactions`: PostgreSQL's.
//! * `lease`: taking turns with other replicas.
//! * [`change`]: what is written, and why it may not be. [`error`]: what the database could not do.

pub mod change;
mod database;
pub mod error;
mod group_commit;
mod lease;
mod metrics;
pub mod open;
pub mod settings;
mod transactions;

pub use change::{Change, Refusable, WriteError};
pub use database::{Database, Sql};
pub use error::DatabaseError;
pub use lease::{Lease, take_turns};
pub use open::{MigrationFile, OpenError, Schema};
pub use settings::DatabaseSettings;
pub use sqlx::{self, AnyConnection, Row};
