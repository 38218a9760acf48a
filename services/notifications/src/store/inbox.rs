//! What a user reads of its notifications, and what is left of them in time.

use futures_util::TryStreamExt as _;
use synapse_chassis::{error::ApiError, identity::Identity};
use synapse_database::{Row as _, WriteError};

use super::{
    AnyConnection, AssertSqlSafe, COLUMNS, Change, DatabaseError, Infallible, MAX_AT_ONCE, Notification,
    Refusable, Store, Uuid, notification, sqlx,
};

/// How much one page of an inbox may be.
const MAX_PAGE_BYTES: usize = 1 << 20;
/// How many expired ones are removed at once, so that others get their turn.
const MAX_REMOVED: i64 = 1_000;

/// Which notifications are asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whose.
    pub user: String,
    /// Only those that were not read yet.
    pub unread: bool,
    /// At most so many.
    pub limit: u32,
    /// Only those before this one of an earlier answer.
    pub before: Option<i64>,
}

/// A notification in the inbox.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it is.
    pub notification: Notification,
    /// Its place in the inbox.
    pub sequence: i64,
    /// Whether its user has read it.
    pub is_read: bool,
}

/// What operators see of the tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Notifications that are to be announced; counted up to 100,000, as long queues are counted when time is short.
    pub unannounced: i64,
    /// Pushes that are to be sent, likewise.
    pub pushes: i64,
    /// When the oldest notification was made; 0 for none.
    pub oldest_ms: i64,
}

/// Why a notification is not marked as read: none of this id is one that whoever asks may see.
#[derive(Clone, Copy, Debug)]
pub struct ReadRefusal;

impl From<ReadRefusal> for ApiError {
    fn from(_: ReadRefusal) -> Self {
        Self::not_found("notification_not_found", "you have no notification of this id")
    }
}

impl Store {
    /// A user's notifications, newest first, and whether there are more. No more are given than [`MAX_PAGE_BYTES`] hold,
    /// but for one.
    pub async fn list(&self, query: Query) -> Result<(Vec<Listed>, bool), DatabaseError> {
        let unread = if query.unread { "AND read_ms = 0" } else { "" };
        let text = format!(
            "SELECT {COLUMNS}, sequence, read_ms FROM notifications WHERE user_id = $1 AND sequence < $2 {unread} \
             ORDER BY sequence DESC LIMIT {}",
            u64::from(query.limit) + 1
        );
        let page = self.database.read(async move |connection| {
            let statement = sqlx::query(AssertSqlSafe(text)).bind(query.user);
            let mut rows = statement.bind(query.before.unwrap_or(i64::MAX)).fetch(connection);
            let (mut page, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.try_next().await? {
                let next = listed(&row);
                bytes += next.notification.bytes();
                let is_full =
                    page.len() >= query.limit as usize || (bytes > MAX_PAGE_BYTES && !page.is_empty());
                if is_full {
                    return Ok((page, true));
                }
                page.push(next);
            }
            Ok((page, false))
        });
        page.await
    }

    /// Notes that a notification was read, by somebody who may.
    pub async fn mark_read(
        &self,
        id: Uuid,
        by: Identity,
        now_ms: i64,
    ) -> Result<Listed, WriteError<ReadRefusal>> {
        self.database.write(MarkRead { id, by, now_ms }).await
    }

    /// Notes that all of a user's were read; gives how many had not been.
    pub async fn mark_all_read(&self, user: String, now_ms: i64) -> Result<u64, DatabaseError> {
        let mut marked = 0;
        loop {
            let some = self.write(MarkSomeRead { user: user.clone(), now_ms }).await?;
            marked += some;
            if some < MAX_AT_ONCE as u64 {
                return Ok(marked);
            }
        }
    }

    /// Removes some of those made before a moment; gives how many.
    pub async fn remove_before(&self, moment_ms: i64) -> Result<u64, DatabaseError> {
        self.write(Remove { moment_ms }).await
    }

    /// What operators see.
    pub async fn gauges(&self) -> Result<Gauges, DatabaseError> {
        let row = self.database.read(async |connection| {
            sqlx::query(
                "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM notifications WHERE announced = 0 LIMIT 100000) AS counted), \
                 (SELECT COUNT(*) FROM (SELECT 1 FROM pushes LIMIT 100000) AS counted), (SELECT COALESCE(MIN(created_ms), 0) FROM notifications)",
            )
            .fetch_one(connection)
            .await
        });
        let row = row.await?;
        Ok(Gauges { unannounced: row.get(0), pushes: row.get(1), oldest_ms: row.get(2) })
    }
}

fn listed(row: &sqlx::any::AnyRow) -> Listed {
    Listed { notification: notification(row), sequence: row.get(9), is_read: row.get::<i64, _>(10) != 0 }
}

struct MarkRead {
    id: Uuid,
    by: Identity,
    now_ms: i64,
}

impl Change for MarkRead {
    type Output = Listed;
    type Refusal = ReadRefusal;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<Listed, Refusable<ReadRefusal>> {
        let text = format!("SELECT {COLUMNS}, sequence, read_ms FROM notifications WHERE id = $1");
        let statement = sqlx::query(AssertSqlSafe(text)).bind(self.id.to_string());
        let row = statement.fetch_optional(&mut *connection).await?;
        let row = row.ok_or(Refusable::Refused(ReadRefusal))?;
        let listed = Listed { is_read: true, ..listed(&row) };
        // Whether another's is there is nobody's business.
        let may = self.by.must_be(&listed.notification.user, crate::SCOPE);
        may.map_err(|_| Refusable::Refused(ReadRefusal))?;
        // What was read needs no showing.
        sqlx::query("UPDATE notifications SET read_ms = $1, delivered = 1 WHERE id = $2 AND read_ms = 0")
            .bind(self.now_ms)
            .bind(self.id.to_string())
            .execute(connection)
            .await?;
        Ok(listed)
    }
}

/// So many at once that others get their turn.
struct MarkSomeRead {
    user: String,
    now_ms: i64,
}

impl Change for MarkSomeRead {
    type Output = u64;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<u64, Refusable<Infallible>> {
        let text = format!(
            "UPDATE notifications SET read_ms = $1, delivered = 1 WHERE sequence IN (SELECT sequence FROM notifications \
             WHERE user_id = $2 AND read_ms = 0 ORDER BY sequence LIMIT {MAX_AT_ONCE})"
        );
        let marked =
            sqlx::query(AssertSqlSafe(text)).bind(self.now_ms).bind(&self.user).execute(connection).await?;
        Ok(marked.rows_affected())
    }
}

struct Remove {
    moment_ms: i64,
}

impl Change for Remove {
    type Output = u64;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<u64, Refusable<Infallible>> {
        let text = "DELETE FROM notifications WHERE sequence IN \
                    (SELECT sequence FROM notifications WHERE created_ms < $1 ORDER BY created_ms LIMIT $2)";
        let removed = sqlx::query(text).bind(self.moment_ms).bind(MAX_REMOVED).execute(connection).await?;
        Ok(removed.rows_affected())
    }
}
