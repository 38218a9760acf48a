//! Pushes that are to be sent, until they are or nobody wants them any more.

use synapse_database::Row as _;

use super::{
    AnyConnection, AssertSqlSafe, Change, DatabaseError, Infallible, MAX_AT_ONCE, PushOf, Refusable, Sql,
    Store, Subscription, places, sqlx,
};

/// How many may wait for one subscription; what comes then is left to the inbox.
pub const MAX_WAITING: i64 = 100;

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
    /// How often in a row sending to this subscription has failed.
    pub failures: i64,
}

/// What becomes of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was sent.
    Sent,
    /// It is given up.
    Over,
    /// It is tried again then.
    Again {
        /// When, in milliseconds since 1970.
        due_ms: i64,
    },
}

/// What is written of a push that was tried.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Its number.
    pub sequence: i64,
    /// Where it went.
    pub endpoint: String,
    /// What becomes of it.
    pub fate: Fate,
    /// When.
    pub now_ms: i64,
    /// Until when nothing more is sent there, if its push service was not well or refused it.
    pub rests_until_ms: Option<i64>,
}

impl Store {
    /// Takes pushes that are due, the oldest of each endpoint, but for those to these endpoints; who takes one has until
    /// `until_ms` to say what became of it, before others take it. Those of withdrawn subscriptions are forgotten.
    pub async fn take_pushes(
        &self,
        now_ms: i64,
        until_ms: i64,
        most: i64,
        but: Vec<String>,
    ) -> Result<Vec<Push>, DatabaseError> {
        self.write(Take { now_ms, until_ms, most, but }).await
    }

    /// Removes pushes that nobody wants any more, whenever they are due; gives how many.
    pub async fn remove_expired_pushes(&self, now_ms: i64) -> Result<u64, DatabaseError> {
        self.write(RemoveExpired { now_ms }).await
    }

    /// Says what became of a push.
    pub async fn settle_push(&self, settled: Settled) -> Result<(), DatabaseError> {
        self.write(settled).await
    }

    /// When the next push is due, but for those to these endpoints; `None` if there is none.
    pub async fn next_push_ms(&self, but: &[String]) -> Result<Option<i64>, DatabaseError> {
        let (text, but) = (not_among(but, 0), but.to_vec());
        let row = self.database.read(async move |connection| {
            let text = format!("SELECT COALESCE(MIN(due_ms), -1) FROM pushes WHERE 1 = 1 {text}");
            let statement = sqlx::query(AssertSqlSafe(text));
            but.iter().fold(statement, sqlx::query::Query::bind).fetch_one(connection).await
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
                SELECT endpoint, user_id, p256dh, auth, CAST($2 AS TEXT), 0, \
                CASE WHEN rests_until_ms > $3 THEN rests_until_ms ELSE CAST($3 AS BIGINT) END, CAST($4 AS BIGINT) \
                FROM subscriptions WHERE user_id = $1 AND \
                (SELECT COUNT(*) FROM pushes WHERE pushes.endpoint = subscriptions.endpoint) < $5";
    let statement = sqlx::query(text).bind(user.to_owned()).bind(push.payload.clone()).bind(due_ms);
    let made = statement.bind(push.expires_ms).bind(MAX_WAITING).execute(connection).await?;
    Ok(made.rows_affected())
}

/// `AND endpoint NOT IN (…)`, with places from behind `before` on.
fn not_among(but: &[String], before: usize) -> String {
    if but.is_empty() {
        return String::new();
    }
    let places: Vec<_> = (1..=but.len()).map(|number| format!("${}", before + number)).collect();
    format!("AND endpoint NOT IN ({})", places.join(", "))
}

struct Take {
    now_ms: i64,
    until_ms: i64,
    most: i64,
    but: Vec<String>,
}

const LOCKED: Sql = Sql { sqlite: "", postgres: "FOR UPDATE SKIP LOCKED" };

impl Change for Take {
    type Output = Vec<Push>;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<Vec<Push>, Refusable<Infallible>> {
        let text = format!(
            "UPDATE pushes SET due_ms = $1 WHERE sequence IN (SELECT sequence FROM pushes WHERE due_ms <= $2 AND \
             sequence IN (SELECT MIN(sequence) FROM pushes WHERE due_ms <= $2 {} GROUP BY endpoint \
             ORDER BY MIN(due_ms), MIN(sequence) LIMIT $3) {}) RETURNING sequence",
            not_among(&self.but, 3),
            LOCKED.on(connection),
        );
        let statement =
            sqlx::query(AssertSqlSafe(text)).bind(self.until_ms).bind(self.now_ms).bind(self.most);
        let statement = self.but.iter().fold(statement, sqlx::query::Query::bind);
        let taken = statement.fetch_all(&mut *connection).await?;
        let taken: Vec<i64> = taken.iter().map(|row| row.get(0)).collect();
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        // As the subscription is now: another user may have it, or nobody.
        let text = format!(
            "SELECT pushes.sequence, endpoint, s.p256dh, s.auth, payload, attempts, expires_ms, s.failures FROM pushes \
             JOIN subscriptions s USING (endpoint) WHERE pushes.user_id = s.user_id AND pushes.sequence IN ({}) \
             ORDER BY pushes.sequence",
            places(taken.len()),
        );
        let statement = sqlx::query(AssertSqlSafe(text));
        let statement = taken.iter().fold(statement, |statement, sequence| statement.bind(*sequence));
        let pushes: Vec<_> = statement.fetch_all(&mut *connection).await?.iter().map(push).collect();
        for sequence in taken {
            if !pushes.iter().any(|push| push.sequence == sequence) {
                remove(connection, sequence).await?;
            }
        }
        Ok(pushes)
    }
}

fn push(row: &sqlx::any::AnyRow) -> Push {
    Push {
        sequence: row.get(0),
        to: Subscription { endpoint: row.get(1), p256dh: row.get(2), auth: row.get(3) },
        payload: row.get(4),
        attempts: row.get(5),
        expires_ms: row.get(6),
        failures: row.get(7),
    }
}

async fn remove(connection: &mut AnyConnection, sequence: i64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM pushes WHERE sequence = $1").bind(sequence).execute(connection).await?;
    Ok(())
}

impl Change for Settled {
    type Output = ();
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<(), Refusable<Infallible>> {
        match self.fate {
            Fate::Sent | Fate::Over => remove(connection, self.sequence).await?,
            Fate::Again { due_ms } => {
                let text = "UPDATE pushes SET due_ms = $2, attempts = attempts + 1 WHERE sequence = $1";
                sqlx::query(text).bind(self.sequence).bind(due_ms).execute(&mut *connection).await?;
            }
        }
        // What else waits there goes behind what has waited longer elsewhere.
        let others_due_ms = self.rests_until_ms.unwrap_or(self.now_ms);
        let text = "UPDATE pushes SET due_ms = $2 WHERE endpoint = $1 AND due_ms < $2";
        sqlx::query(text).bind(&self.endpoint).bind(others_due_ms).execute(&mut *connection).await?;
        if let Some(rests_until_ms) = self.rests_until_ms {
            let text = "UPDATE subscriptions SET failures = failures + 1, rests_until_ms = $2, \
                        failing_since_ms = CASE WHEN failing_since_ms = 0 THEN CAST($3 AS BIGINT) ELSE failing_since_ms END \
                        WHERE endpoint = $1";
            let statement = sqlx::query(text).bind(&self.endpoint).bind(rests_until_ms).bind(self.now_ms);
            statement.execute(connection).await?;
        } else if self.fate == Fate::Sent {
            let text = "UPDATE subscriptions SET failures = 0, rests_until_ms = 0, failing_since_ms = 0 \
                        WHERE endpoint = $1 AND failures > 0";
            sqlx::query(text).bind(&self.endpoint).execute(connection).await?;
        }
        Ok(())
    }
}

struct RemoveExpired {
    now_ms: i64,
}

impl Change for RemoveExpired {
    type Output = u64;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<u64, Refusable<Infallible>> {
        let text = format!(
            "DELETE FROM pushes WHERE sequence IN \
             (SELECT sequence FROM pushes WHERE expires_ms <= $1 AND due_ms > $1 LIMIT {MAX_AT_ONCE})"
        );
        let removed = sqlx::query(AssertSqlSafe(text)).bind(self.now_ms).execute(connection).await?;
        Ok(removed.rows_affected())
    }
}
