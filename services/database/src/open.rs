//! Connecting, migrations, and the lock against a second process on SQLite.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};
use synapse_chassis::{health::Condition, service::Service};
use synapse_rs::backoff::Backoff;
use tokio::{sync::Notify, time::sleep};
use url::Url;

use crate::{
    Database,
    database::Shared,
    error::DatabaseError,
    group_commit::Writes,
    metrics,
    settings::{DatabaseSettings, Location},
};

/// Connections that read from SQLite.
const SQLITE_READERS: u32 = 4;
/// The part of the grace in which changes of requests in hand are still committed.
const WRITING_OF_GRACE: f64 = 0.9;
/// The part of the time for an answer that may be spent on getting a connection.
const CONNECTING_OF_TIMEOUT: f64 = 0.8;
/// How long is waited between two attempts to reach a server.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The tables of a service, and how they came to be.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// PostgreSQL's schema, for example `synapse_tasks`.
    pub name: &'static str,
    /// The migrations of SQLite, in order. One that was released is never changed.
    pub sqlite: &'static [MigrationFile],
    /// Those of PostgreSQL.
    pub postgres: &'static [MigrationFile],
}

/// One step from an older form of the tables to a newer.
#[derive(Clone, Copy, Debug)]
pub struct MigrationFile {
    /// Its number; they are applied in this order.
    pub version: i64,
    /// What it does.
    pub description: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error(
        "{} is in use by another process; one process alone works on SQLite: stop the other, or set DATABASE_URL to a PostgreSQL that both share",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be made or opened.
    #[error("can't open {}: {reason}; set DATA_DIR to a directory that can be written to", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite said.
        reason: String,
    },
    /// The server's URL.
    #[error("DATABASE_URL can't be used: {0}")]
    Url(String),
    /// The tables are not those of this version.
    #[error("the tables can't be brought to this version's form: {0}")]
    Migration(#[from] MigrateError),
    /// No answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Database {
    /// Opens the database of a service, and has its tables brought to this version's form: at once in SQLite; of a
    /// server as soon as it answers, so that a service starts without it. Met, `ready` says so.
    pub async fn start(
        settings: &DatabaseSettings,
        schema: Schema,
        service: &Service,
        ready: Condition,
    ) -> Result<Self, OpenError> {
        metrics::describe();
        let (database, writer) = match &settings.location {
            Location::Sqlite(path) => {
                let (database, writer) = Self::open_sqlite(path, schema, settings.timeout).await?;
                (database, Some(writer))
            }
            Location::Postgres(url) => (Self::postgres(url, schema, settings)?, None),
        };
        if let Some(writer) = writer {
            let (shutdown, grace) = (service.shutdown.clone(), service.common.shutdown_grace);
            let is_late = async move {
                shutdown.cancelled().await;
                sleep(grace.mul_f64(WRITING_OF_GRACE)).await;
            };
            service.spawn("database", async {
                tokio::select! {
                    () = writer.run() => {}
                    // A connection that does not end holds it open.
                    () = is_late => {}
                }
            });
        }
        if database.is_sqlite() {
            ready.met();
        } else {
            let (own, of_service) = (database.clone(), service.clone());
            service.spawn("database", async move { own.keep_trying(schema, &of_service, &ready).await });
        }
        Ok(database)
    }

    /// Brings the tables to this version's form, and nothing else.
    pub async fn migrate(settings: &DatabaseSettings, schema: Schema) -> Result<(), OpenError> {
        match &settings.location {
            Location::Sqlite(path) => Self::open_sqlite(path, schema, settings.timeout).await.map(drop),
            Location::Postgres(_) => Self::open_postgres(settings, schema).await.map(drop),
        }
    }

    /// Opens a file of SQLite; the writer is to be run for anything to be written.
    pub async fn open_sqlite(
        path: &Path,
        schema: Schema,
        timeout: Duration,
    ) -> Result<(Self, Writer), OpenError> {
        let failed = |reason: String| OpenError::File { path: path.to_owned(), reason };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
        }
        let lock = lock(path)?;
        sqlx::any::install_default_drivers();
        let options = sqlite(path, "rwc").map_err(failed)?;
        // One that is gone is not made anew: it would be empty.
        let for_readers = sqlite(path, "rw").map_err(failed)?;
        let as_failed = |error: sqlx::Error| failed(error.to_string());
        let mut connection = AnyConnection::connect_with(&options).await.map_err(as_failed)?;
        // What is committed is on the disk, also after a power failure.
        for pragma in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON"] {
            connection.execute(pragma).await.map_err(as_failed)?;
        }
        migrator(schema.sqlite).run(&mut connection).await?;
        let pool = AnyPoolOptions::new()
            .max_connections(SQLITE_READERS)
            .acquire_timeout(timeout)
            .max_lifetime(None)
            .idle_timeout(None)
            .after_connect(|reader, _| {
                Box::pin(async move { reader.execute("PRAGMA query_only = ON").await.map(drop) })
            })
            .connect_lazy_with(for_readers);
        let committed = Arc::new(Notify::new());
        let (writes, queue) = Writes::new(committed.clone());
        let database = Self::new(pool, Some(writes), committed, timeout, true);
        Ok((database, Writer { queue, connection, _lock: lock }))
    }

    /// Reaches a server now, or says why not.
    pub async fn open_postgres(settings: &DatabaseSettings, schema: Schema) -> Result<Self, OpenError> {
        let Location::Postgres(url) = &settings.location else {
            return Err(OpenError::Url("it is not set".to_owned()));
        };
        let database = Self::postgres(url, schema, settings)?;
        database.prepare(schema).await?;
        Ok(database)
    }

    fn postgres(url: &Url, schema: Schema, settings: &DatabaseSettings) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let options =
            AnyConnectOptions::from_str(url.as_str()).map_err(|error| OpenError::Url(error.to_string()))?;
        let path = format!("SET search_path TO {}", schema.name);
        let pool = AnyPoolOptions::new()
            .max_connections(settings.connections)
            // Who gets none is to hear of it before the change as a whole has taken too long.
            .acquire_timeout(settings.timeout.mul_f64(CONNECTING_OF_TIMEOUT))
            .after_connect(move |connection, _| {
                let path = path.clone();
                Box::pin(async move { connection.execute(AssertSqlSafe(path)).await.map(drop) })
            })
            .connect_lazy_with(options);
        Ok(Self::new(pool, None, Arc::default(), settings.timeout, false))
    }

    fn new(
        pool: AnyPool,
        writes: Option<Writes>,
        committed: Arc<Notify>,
        timeout: Duration,
        is_prepared: bool,
    ) -> Self {
        let is_prepared = AtomicBool::new(is_prepared);
        Self { shared: Arc::new(Shared { pool, writes, committed, timeout, is_prepared }) }
    }

    /// Brings a server's tables to this version's form; replicas that start at once take turns.
    async fn prepare(&self, schema: Schema) -> Result<(), OpenError> {
        let mut connection = self.shared.pool.acquire().await.map_err(DatabaseError::from)?;
        let mut migrator = migrator(schema.postgres);
        migrator.create_schema(schema.name);
        // Not `run`, whose future the compiler can't see to be `Send` (sqlx says so where it defines this one).
        migrator.run_direct(None, &mut *connection, false).await.map_err(|error| match error {
            MigrateError::Execute(error) => OpenError::Database(error.into()),
            other => OpenError::Migration(other),
        })?;
        self.shared.is_prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// Prepares the tables as soon as the server answers. If they are of another version the service can't work, and
    /// leaves.
    async fn keep_trying(&self, schema: Schema, service: &Service, ready: &Condition) {
        let mut pauses = Backoff::new(PAUSE.0, PAUSE.1);
        let mut told = String::new();
        loop {
            match self.prepare(schema).await {
                Ok(()) => return ready.met(),
                Err(OpenError::Database(error)) if error.is_transient() => {
                    let reason = error.to_string();
                    if reason != told {
                        tracing::warn!(reason, "waiting for the database (DATABASE_URL)");
                        told.clone_from(&reason);
                    }
                    ready.waiting_because(reason);
                }
                Err(error) => {
                    return service.fail(&format!("the database (DATABASE_URL) can't be used: {error}"));
                }
            }
            let pause = sleep(pauses.next_delay());
            if service.shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}

/// What writes to SQLite.
pub struct Writer {
    queue: crate::group_commit::Queue,
    connection: AnyConnection,
    /// Released with the writer.
    _lock: File,
}

impl Writer {
    /// Commits what is handed in, until nobody is left who could hand anything in.
    pub async fn run(self) {
        let Self { queue, connection, _lock } = self;
        queue.run(connection).await;
    }
}

fn sqlite(path: &Path, mode: &str) -> Result<AnyConnectOptions, String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let path = path.to_str().ok_or("its path is not UTF-8")?;
    let mut url = Url::parse("sqlite:///").map_err(|error| error.to_string())?;
    url.set_path(&path.replace('%', "%25"));
    url.set_query(Some(&format!("mode={mode}")));
    AnyConnectOptions::from_str(url.as_str()).map_err(|error| error.to_string())
}

fn migrator(files: &[MigrationFile]) -> Migrator {
    let migration = |file: &MigrationFile| {
        Migration::new(
            file.version,
            file.description.into(),
            MigrationType::Simple,
            file.sql.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(files.iter().map(migration).collect())
}

/// A lock beside the file, which ends with the process.
fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = path.with_extension("lock");
    let failed = |error: io::Error| OpenError::File { path: beside.clone(), reason: error.to_string() };
    let file = File::options().create(true).truncate(false).write(true).open(&beside).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
