//! What is written is there as a whole or not at all, on either database.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use sqlx::{AnyConnection, Connection as _, Row as _};
use synapse_chassis::settings::Environment;
use synapse_database::{
    Change, Database, DatabaseError, DatabaseSettings, MigrationFile, OpenError, Refusable, Schema, Sql,
    WriteError, error::is_duplicate_of, sqlx,
};
use synapse_test_support::PostgresServer;
use tempfile::TempDir;
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_secs(20);
const TABLES: &[MigrationFile] = &[MigrationFile {
    version: 1,
    description: "accounts",
    sql: "CREATE TABLE accounts (name TEXT PRIMARY KEY, amount BIGINT NOT NULL CHECK (amount >= 0), note TEXT); \
          CREATE TABLE moves (name TEXT NOT NULL, number BIGINT NOT NULL, PRIMARY KEY (name, number))",
}];
const SCHEMA: Schema = Schema { name: "synapse_trial", sqlite: TABLES, postgres: TABLES };

/// Makes an account; refused if it is there.
struct Open(String);

/// Adds to an account and notes the move, numbered; goes wrong in the second statement if `breaks`.
#[derive(Clone)]
struct Add {
    name: &'static str,
    amount: i64,
    breaks: bool,
}

const ADD: Sql = Sql {
    sqlite: "UPDATE accounts SET amount = amount + $2 WHERE name = $1; INSERT INTO moves VALUES ($1, $3)",
    postgres: "WITH added AS (UPDATE accounts SET amount = amount + $2 WHERE name = $1) INSERT INTO moves VALUES ($1, $3)",
};

impl Change for Open {
    type Output = ();
    type Refusal = &'static str;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<(), Refusable<&'static str>> {
        let made = sqlx::query("INSERT INTO accounts (name, amount, note) VALUES ($1, 0, $2)")
            .bind(&self.0)
            .bind(None::<String>)
            .execute(connection)
            .await;
        match made {
            Ok(_) => Ok(()),
            Err(error) if is_duplicate_of(&error, &["accounts.name", "accounts_pkey"]) => {
                Err(Refusable::Refused("taken"))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Change for Add {
    type Output = i64;
    type Refusal = &'static str;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<i64, Refusable<&'static str>> {
        let lock = Sql {
            sqlite: "SELECT amount FROM accounts WHERE name = $1",
            postgres: "SELECT amount FROM accounts WHERE name = $1 FOR UPDATE",
        };
        let found = sqlx::query(lock.on(connection)).bind(self.name).fetch_optional(&mut *connection).await?;
        if found.is_none() {
            return Err(Refusable::Refused("no such account"));
        }
        let next: i64 = sqlx::query("SELECT COALESCE(MAX(number), 0) + 1 FROM moves WHERE name = $1")
            .bind(self.name)
            .fetch_one(&mut *connection)
            .await?
            .get(0);
        let number = if self.breaks { 1 } else { next };
        sqlx::query(ADD.on(connection))
            .bind(self.name)
            .bind(self.amount)
            .bind(number)
            .execute(connection)
            .await?;
        Ok(next)
    }
}

/// A database with the tables of this test; the rest keeps it alive.
struct Bench {
    database: Database,
    _folder: TempDir,
    server: Option<PostgresServer>,
}

async fn sqlite(path: &Path) -> Result<Database, OpenError> {
    let (database, writer) = Database::open_sqlite(path, SCHEMA, TIMEOUT).await?;
    tokio::spawn(writer.run());
    Ok(database)
}

async fn both() -> [Bench; 2] {
    let folder = TempDir::new().unwrap();
    let database = sqlite(&folder.path().join("trial.db")).await.unwrap();
    let on_sqlite = Bench { database, _folder: folder, server: None };
    let server = PostgresServer::new();
    let url = server.url();
    let settings =
        DatabaseSettings::read(&Environment::from_map([("DATABASE_URL", url.as_str())]), "x.db").unwrap();
    let database = Database::open_postgres(&settings, SCHEMA).await.unwrap();
    [on_sqlite, Bench { database, _folder: TempDir::new().unwrap(), server: Some(server) }]
}

async fn amount(database: &Database) -> i64 {
    let asked = database.read(async |connection| {
        sqlx::query("SELECT amount FROM accounts WHERE name = 'a'").fetch_one(connection).await
    });
    asked.await.unwrap().get(0)
}

async fn moves(database: &Database) -> Vec<i64> {
    let asked = database.read(async |connection| {
        sqlx::query("SELECT number FROM moves WHERE name = 'a' ORDER BY number").fetch_all(connection).await
    });
    asked.await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_does_not_grow_though_one_reader_follows_the_other() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trial.db");
    let database = sqlite(&path).await.unwrap();
    let end = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (database, end) = (database.clone(), end.clone());
            tokio::spawn(async move {
                while !end.load(Ordering::Relaxed) {
                    let asked = database.read(async |connection| {
                        let mut snapshot = connection.begin().await?;
                        sqlx::query("SELECT count(*) FROM accounts").fetch_one(&mut *snapshot).await?;
                        sleep(Duration::from_millis(5)).await;
                        snapshot.rollback().await
                    });
                    asked.await.unwrap();
                }
            })
        })
        .collect();
    let text = "x".repeat(60_000);
    for number in 0..1_000 {
        database.write(Open(format!("{number}{text}"))).await.unwrap();
    }
    end.store(true, Ordering::Relaxed);
    join_all(readers).await;
    let log = std::fs::metadata(folder.path().join("trial.db-wal")).unwrap().len();
    assert!(log < 30 << 20, "{} MiB of log for {} MiB", log >> 20, path.metadata().unwrap().len() >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_are_all_there_and_none_shares_a_number() {
    for bench in both().await {
        let database = &bench.database;
        database.write(Open("a".to_owned())).await.unwrap();
        let add = Add { name: "a", amount: 2, breaks: false };
        let mut numbers: Vec<_> = join_all((0..200).map(|_| database.write(add.clone())))
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
        assert_eq!((amount(database).await, moves(database).await), (400, numbers));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_breaks_leaves_nothing_and_takes_no_other_with_it() {
    for bench in both().await {
        let database = &bench.database;
        database.write(Open("a".to_owned())).await.unwrap();
        database.write(Add { name: "a", amount: 1, breaks: false }).await.unwrap();
        let changes = (0..60).map(|n| database.write(Add { name: "a", amount: 10, breaks: n % 3 == 0 }));
        let outcomes = join_all(changes).await;
        let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(written, 40);
        let broken = outcomes.into_iter().filter_map(Result::err);
        for error in broken {
            assert!(matches!(error, WriteError::Database(DatabaseError::Broken(_))), "{error:?}");
        }
        assert_eq!((amount(database).await, moves(database).await.len()), (401, 41));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_apart_from_what_the_database_says() {
    for bench in both().await {
        let database = &bench.database;
        database.write(Open("a".to_owned())).await.unwrap();
        let again = join_all((0..20).map(|n| database.write(Open(["a", "b"][n % 2].to_owned())))).await;
        assert_eq!(again.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for refused in again.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, WriteError::Refused("taken")), "{refused:?}");
        }
        let missing = database.write(Add { name: "c", amount: 1, breaks: false }).await.unwrap_err();
        assert!(matches!(missing, WriteError::Refused("no such account")));
    }
}

#[tokio::test]
async fn a_second_process_on_sqlite_is_refused_until_the_first_is_gone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("deep").join("trial.db");
    let (database, writer) = Database::open_sqlite(&path, SCHEMA, TIMEOUT).await.unwrap();
    let error = sqlite(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains("DATABASE_URL"), "{error}");
    drop(database);
    writer.run().await;
    sqlite(&path).await.unwrap();
}

#[tokio::test]
async fn tables_of_a_later_version_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trial.db");
    let later =
        [TABLES[0], MigrationFile { version: 2, description: "more", sql: "CREATE TABLE more (n BIGINT)" }];
    let later = Schema { sqlite: Box::leak(Box::new(later)), ..SCHEMA };
    let (_, writer) = Database::open_sqlite(&path, later, TIMEOUT).await.unwrap();
    drop(writer);
    let error = sqlite(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Migration(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_unavailable_and_back_when_it_is() {
    let [_, mut bench] = both().await;
    let database = &bench.database;
    database.write(Open("a".to_owned())).await.unwrap();
    let server = bench.server.as_mut().unwrap();
    server.kill();
    let error = database.write(Open("b".to_owned())).await.unwrap_err();
    assert!(matches!(error, WriteError::Database(DatabaseError::Unavailable(_))), "{error:?}");
    server.start();
    while let Err(error) = database.write(Open("b".to_owned())).await {
        assert!(matches!(error, WriteError::Database(DatabaseError::Unavailable(_))), "{error:?}");
    }
    assert!(matches!(database.write(Open("a".to_owned())).await, Err(WriteError::Refused("taken"))));
}

#[test]
fn a_url_of_another_kind_is_refused_and_a_password_is_not_printed() {
    let read = |url: &str| DatabaseSettings::read(&Environment::from_map([("DATABASE_URL", url)]), "x.db");
    for url in ["mysql://h/d", "postgres://", "postgres://h", "/some/file", "sqlite://x.db"] {
        let error = read(url).expect_err(url).to_string();
        assert!(error.contains("DATABASE_URL") && error.contains("postgres://user"), "{error}");
    }
    let settings = read("postgresql://u:secret@h/d?options=-csecret2").unwrap();
    let text = format!("{settings:?}");
    assert!(text.contains("u:***@h") && !text.contains("secret"), "{text}");
}
