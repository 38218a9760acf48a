//! What is kept: notifications, subscriptions to Web Push, and pushes that are to be sent. All SQL stands here and below.

use std::convert::Infallible;

use futures_util::TryStreamExt as _;
use synapse_database::{
    AnyConnection, Change, Database, DatabaseError, MigrationFile, Refusable, Row as _, Schema, Sql,
    sqlx::{self, AssertSqlSafe, any::AnyRow},
};
use uuid::Uuid;

use crate::notification::Notification;

mod inbox;
mod pushes;
mod subscriptions;

pub use inbox::{Gauges, Listed, Query, ReadRefusal};
pub use pushes::{Fate, MAX_WAITING, Push, Settled};
pub use subscriptions::{MAX_SUBSCRIPTIONS, Subscription};

/// The tables and how they came to be.
pub const SCHEMA: Schema = Schema {
    name: "synapse_notifications",
    sqlite: &[
        MigrationFile {
            version: 1,
            description: "notifications, subscriptions, pushes",
            sql: include_str!("../migrations/sqlite/1-notifications.sql"),
        },
        MigrationFile {
            version: 2,
            description: "failing subscriptions",
            sql: include_str!("../migrations/sqlite/2-failing-subscriptions.sql"),
        },
        MigrationFile {
            version: 3,
            description: "expired pushes",
            sql: include_str!("../migrations/sqlite/3-expired-pushes.sql"),
        },
    ],
    postgres: &[
        MigrationFile {
            version: 1,
            description: "notifications, subscriptions, pushes",
            sql: include_str!("../migrations/postgres/1-notifications.sql"),
        },
        MigrationFile {
            version: 2,
            description: "failing subscriptions",
            sql: include_str!("../migrations/postgres/2-failing-subscriptions.sql"),
        },
        MigrationFile {
            version: 3,
            description: "expired pushes",
            sql: include_str!("../migrations/postgres/3-expired-pushes.sql"),
        },
    ],
};
/// How many are changed by one statement.
const MAX_AT_ONCE: usize = 500;
const COLUMNS: &str = "id, user_id, event_id, type, title, message, data, timestamp, created_ms";

/// What is kept.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
}

/// What became of a notification that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Whether it was not there before.
    pub is_new: bool,
    /// How many pushes of it wait to be sent.
    pub pushes: u64,
}

/// What happened to notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// All replicas were told.
    Announced,
    /// A connection of its user has got it.
    Delivered,
}

/// A push that goes with a notification.
#[derive(Clone, Debug)]
pub struct PushOf {
    /// What is sent.
    pub payload: String,
    /// When nobody wants it any more.
    pub expires_ms: i64,
}

/// What a user missed.
#[derive(Clone, Debug, Default)]
pub struct Missed {
    /// The newest, oldest first.
    pub notifications: Vec<Notification>,
    /// The newest of those that are older, if there are any; they stay in the inbox.
    pub passed_over: Option<i64>,
}

struct PassOver {
    user: String,
    sequence: i64,
}

struct Insert {
    notification: Notification,
    push: Option<PushOf>,
}

struct Marked {
    ids: Vec<Uuid>,
    mark: Mark,
}

impl Store {
    /// Over an open database.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Whether this process alone has the database.
    pub fn is_alone(&self) -> bool {
        self.database.is_sqlite()
    }

    /// Keeps a notification, and with it a push for each subscription of its user, unless it is there already.
    pub async fn insert(
        &self,
        notification: Notification,
        push: Option<PushOf>,
    ) -> Result<Stored, DatabaseError> {
        self.write(Insert { notification, push }).await
    }

    /// Notes what happened to notifications.
    pub async fn mark(&self, ids: &[Uuid], mark: Mark) -> Result<(), DatabaseError> {
        // In one order everywhere: replicas would wait for each other's rows otherwise.
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        for ids in ids.chunks(MAX_AT_ONCE) {
            self.write(Marked { ids: ids.to_vec(), mark }).await?;
        }
        Ok(())
    }

    /// Some of those made before a moment that were not announced yet, oldest first, from a place on; and the place to go
    /// on from, if there may be more.
    pub async fn unannounced(
        &self,
        before_ms: i64,
        after: i64,
    ) -> Result<(Vec<Notification>, Option<i64>), DatabaseError> {
        let text = format!(
            "SELECT {COLUMNS}, sequence FROM notifications WHERE announced = 0 AND created_ms <= $1 AND sequence > $2 \
             ORDER BY sequence LIMIT {MAX_AT_ONCE}"
        );
        let rows = self.database.read(async move |connection| {
            sqlx::query(AssertSqlSafe(text)).bind(before_ms).bind(after).fetch_all(connection).await
        });
        let rows = rows.await?;
        let next = rows.get(MAX_AT_ONCE - 1).map(|last| last.get(9));
        Ok((rows.iter().map(notification).collect(), next))
    }

    /// The newest that reached no connection of a user yet, so many at most and, but for the first, of so many bytes.
    pub async fn missed(&self, user: String, most: usize, max_bytes: usize) -> Result<Missed, DatabaseError> {
        let text = format!(
            "SELECT {COLUMNS}, sequence FROM notifications WHERE user_id = $1 AND delivered = 0 ORDER BY sequence DESC \
             LIMIT {}",
            most + 1
        );
        let missed = self.database.read(async move |connection| {
            let mut rows = sqlx::query(AssertSqlSafe(text)).bind(user).fetch(connection);
            let (mut missed, mut bytes) = (Missed::default(), 0);
            while let Some(row) = rows.try_next().await? {
                let next = notification(&row);
                bytes += next.bytes();
                if missed.notifications.len() == most
                    || (bytes > max_bytes && !missed.notifications.is_empty())
                {
                    missed.passed_over = Some(row.get(9));
                    break;
                }
                missed.notifications.push(next);
            }
            missed.notifications.reverse();
            Ok(missed)
        });
        missed.await
    }

    /// Notes of some of a user's that they are not shown any more, up to this one. Whether there may be more.
    pub async fn pass_over(&self, user: String, sequence: i64) -> Result<bool, DatabaseError> {
        self.write(PassOver { user, sequence }).await
    }

    /// The key that all replicas sign with; the given one if there is none yet.
    pub async fn vapid_key(&self, otherwise: String) -> Result<String, DatabaseError> {
        self.write(Vapid(otherwise)).await
    }

    async fn write<C: Change<Refusal = Infallible>>(&self, change: C) -> Result<C::Output, DatabaseError> {
        Ok(self.database.write(change).await?)
    }
}

impl Change for Insert {
    type Output = Stored;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<Stored, Refusable<Infallible>> {
        let it = &self.notification;
        let for_the_inbox_only = i64::from(!it.is_live);
        let inserted = sqlx::query(
            "INSERT INTO notifications (id, user_id, event_id, type, title, message, data, timestamp, created_ms, read_ms, \
             announced, delivered) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11) ON CONFLICT DO NOTHING",
        )
        .bind(it.id.to_string())
        .bind(&it.user)
        .bind(&it.event_id)
        .bind(&it.kind)
        .bind(&it.title)
        .bind(&it.message)
        .bind(&it.data)
        .bind(&it.timestamp)
        .bind(it.created_ms)
        .bind(for_the_inbox_only)
        .bind(for_the_inbox_only)
        .execute(&mut *connection)
        .await?;
        let is_new = inserted.rows_affected() > 0;
        let mut pushes = 0;
        if let (true, Some(push)) = (is_new, &self.push) {
            pushes = pushes::enqueue(connection, &it.user, push, it.created_ms).await?;
        }
        Ok(Stored { is_new, pushes })
    }
}

impl Change for Marked {
    type Output = ();
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<(), Refusable<Infallible>> {
        let column = match self.mark {
            Mark::Announced => "announced",
            Mark::Delivered => "delivered",
        };
        let text = format!("UPDATE notifications SET {column} = 1 WHERE id IN ({})", places(self.ids.len()));
        let statement = sqlx::query(AssertSqlSafe(text));
        let bound = self.ids.iter().fold(statement, |statement, id| statement.bind(id.to_string()));
        bound.execute(connection).await?;
        Ok(())
    }
}

impl Change for PassOver {
    type Output = bool;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<bool, Refusable<Infallible>> {
        let text = format!(
            "UPDATE notifications SET delivered = 1 WHERE sequence IN (SELECT sequence FROM notifications \
             WHERE user_id = $1 AND delivered = 0 AND sequence <= $2 ORDER BY sequence LIMIT {MAX_AT_ONCE})"
        );
        let statement = sqlx::query(AssertSqlSafe(text)).bind(&self.user).bind(self.sequence);
        Ok(statement.execute(connection).await?.rows_affected() >= MAX_AT_ONCE as u64)
    }
}

struct Vapid(String);

impl Change for Vapid {
    type Output = String;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<String, Refusable<Infallible>> {
        sqlx::query("INSERT INTO vapid (id, private_key) VALUES (1, $1) ON CONFLICT DO NOTHING")
            .bind(&self.0)
            .execute(&mut *connection)
            .await?;
        let row = sqlx::query("SELECT private_key FROM vapid WHERE id = 1").fetch_one(connection).await?;
        Ok(row.get(0))
    }
}

/// `$1, $2, …`
fn places(count: usize) -> String {
    (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// A row of [`COLUMNS`].
fn notification(row: &AnyRow) -> Notification {
    Notification {
        id: row.get::<String, _>(0).parse().unwrap_or_default(),
        user: row.get(1),
        event_id: row.get(2),
        kind: row.get(3),
        title: row.get(4),
        message: row.get(5),
        data: row.get(6),
        timestamp: row.get(7),
        created_ms: row.get(8),
        is_live: true,
    }
}
