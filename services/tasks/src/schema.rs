//! The tables.

use synapse_database::{MigrationFile, Schema};

/// The tables of this service.
pub const SCHEMA: Schema = Schema {
    name: "synapse_tasks",
    sqlite: &[MigrationFile {
        version: 1,
        description: "tasks",
        sql: include_str!("../migrations/sqlite/1_tasks.sql"),
    }],
    postgres: &[MigrationFile {
        version: 1,
        description: "tasks",
        sql: include_str!("../migrations/postgres/1_tasks.sql"),
    }],
};
