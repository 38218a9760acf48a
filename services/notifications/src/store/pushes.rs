//! Pushes that are to be sent, until they are or nobody wants them any more.

use synapse_database::Row as _;

use super::{
    AnyConnection, Change, DatabaseError, Infallible, PushOf, Refusable, Sql, Store, Subscription, sqlx,
};

/// A push that this process has taken to send.
#[derive(Clone, Debug)]
pub struct Push {
    /// Its number.
    pub sequence: i64,
    /// Where it goes.
    pub to: Subscription,
    /// What is sent.
    pub payload: String,
    /// How often it was tried before.
    pub attempts: i64,
    /// When nobody wants it any more.
    pub expires_ms: i64,
}

/// What becomes of a push that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is over: sent, or given up.
    Over,
    /// It is tried again then.
    Again {
        /// When, in milliseconds since 1970.
        due_ms: i64,
    },
}

impl Store {
    /// Takes pushes that are due; who takes one has until `until_ms` to say what became of it, before others take it.
    pub async fn take_pushes(
        &self,
        now_ms: i64,
        until_ms: i64,
        most: i64,
    ) -> Result<Vec<Push>, DatabaseError> {
        self.write(Take { now_ms, until_ms, most }).await
    }

    /// Says what became of a push.
    pub async fn settle_push(&self, sequence: i64, fate: Fate) -> Result<(), DatabaseError> {
        self.write(Settle { sequence, fate }).await
    }

    /// When the next push is due; `None` if there is none.
    pub async fn next_push_ms(&self) -> Result<Option<i64>, DatabaseError> {
        let row = self.database.read(async |connection| {
            sqlx::query("SELECT COALESCE(MIN(due_ms), -1) FROM pushes").fetch_one(connection).await
        });
        let due: i64 = row.await?.get(0);
        Ok((due >= 0).then_some(due))
    }
}

/// A push for each subscription of a user; gives how many.
pub(super) async fn enqueue(
    connection: &mut AnyConnection,
    user: &str,
    push: &PushOf,
    due_ms: i64,
) -> Result<u64, sqlx::Error> {
    let text = "INSERT INTO pushes (endpoint, user_id, p256dh, auth, payload, attempts, due_ms, expires_ms) \
                SELECT endpoint, user_id, p256dh, auth, CAST($2 AS TEXT), 0, CAST($3 AS BIGINT), CAST($4 AS BIGINT) \
                FROM subscriptions WHERE user_id = $1";
    let statement = sqlx::query(text).bind(user.to_owned()).bind(push.payload.clone());
    let made = statement.bind(due_ms).bind(push.expires_ms).execute(connection).await?;
    Ok(made.rows_affected())
}

struct Take {
    now_ms: i64,
    until_ms: i64,
    most: i64,
}

const TAKE: Sql = Sql {
    sqlite: "UPDATE pushes SET due_ms = $1 WHERE sequence IN \
             (SELECT sequence FROM pushes WHERE due_ms <= $2 ORDER BY due_ms, sequence LIMIT $3) \
             RETURNING sequence, endpoint, p256dh, auth, payload, attempts, expires_ms",
    postgres: "UPDATE pushes SET due_ms = $1 WHERE sequence IN \
               (SELECT sequence FROM pushes WHERE due_ms <= $2 ORDER BY due_ms, sequence LIMIT $3 FOR UPDATE SKIP LOCKED) \
               RETURNING sequence, endpoint, p256dh, auth, payload, attempts, expires_ms",
};

impl Change for Take {
    type Output = Vec<Push>;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<Vec<Push>, Refusable<Infallible>> {
        let text = TAKE.on(connection);
        let statement = sqlx::query(text).bind(self.until_ms).bind(self.now_ms).bind(self.most);
        let rows = statement.fetch_all(connection).await?;
        let push = |row: &sqlx::any::AnyRow| Push {
            sequence: row.get(0),
            to: Subscription { endpoint: row.get(1), p256dh: row.get(2), auth: row.get(3) },
            payload: row.get(4),
            attempts: row.get(5),
            expires_ms: row.get(6),
        };
        let mut pushes: Vec<_> = rows.iter().map(push).collect();
        pushes.sort_unstable_by_key(|push| push.sequence);
        Ok(pushes)
    }
}

struct Settle {
    sequence: i64,
    fate: Fate,
}

impl Change for Settle {
    type Output = ();
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<(), Refusable<Infallible>> {
        let statement = match self.fate {
            Fate::Over => sqlx::query("DELETE FROM pushes WHERE sequence = $1").bind(self.sequence),
            Fate::Again { due_ms } => {
                let text = "UPDATE pushes SET due_ms = $2, attempts = attempts + 1 WHERE sequence = $1";
                sqlx::query(text).bind(self.sequence).bind(due_ms)
            }
        };
        statement.execute(connection).await?;
        Ok(())
    }
}
