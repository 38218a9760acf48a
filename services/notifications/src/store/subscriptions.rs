//! Where users want pushes to go.

use synapse_database::{Row as _, take_turns};

use super::{AnyConnection, Change, DatabaseError, Infallible, Refusable, Store, sqlx};

/// How many a user may have; with one more the oldest goes.
pub const MAX_SUBSCRIPTIONS: i64 = 20;

/// Where pushes go, and what they are encrypted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The push service's address for this browser.
    pub endpoint: String,
    /// The browser's public key, base64url.
    pub p256dh: String,
    /// The secret shared with the browser, base64url.
    pub auth: String,
}

impl Store {
    /// Keeps a subscription of a user; whoever had its endpoint before has it no longer.
    pub async fn subscribe(&self, user: String, subscription: Subscription) -> Result<(), DatabaseError> {
        self.write(Subscribe { user, subscription }).await
    }

    /// Forgets a subscription of a user, and what was to be sent there. Whether it was there.
    pub async fn unsubscribe(&self, user: String, endpoint: String) -> Result<bool, DatabaseError> {
        self.write(Unsubscribe { user, endpoint }).await
    }

    /// Forgets this very subscription, whoever has it; one that was renewed meanwhile stays. Whether it was there.
    pub async fn forget(&self, subscription: Subscription) -> Result<bool, DatabaseError> {
        self.write(Forget(subscription)).await
    }

    /// Forgets subscriptions to which sending has failed since before a moment, without a success in between.
    pub async fn remove_failing(&self, since_ms: i64) -> Result<u64, DatabaseError> {
        self.write(RemoveFailing { since_ms }).await
    }

    /// The subscriptions of a user, oldest first.
    pub async fn subscriptions(&self, user: String) -> Result<Vec<Subscription>, DatabaseError> {
        let rows = self.database.read(async move |connection| {
            let text =
                "SELECT endpoint, p256dh, auth FROM subscriptions WHERE user_id = $1 ORDER BY sequence";
            sqlx::query(text).bind(user).fetch_all(connection).await
        });
        let subscription = |row: &sqlx::any::AnyRow| Subscription {
            endpoint: row.get(0),
            p256dh: row.get(1),
            auth: row.get(2),
        };
        Ok(rows.await?.iter().map(subscription).collect())
    }
}

struct Subscribe {
    user: String,
    subscription: Subscription,
}

impl Change for Subscribe {
    type Output = ();
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<(), Refusable<Infallible>> {
        take_turns(connection, &format!("subscriptions of {}", self.user)).await?;
        // Deleted and not updated, so that it becomes the newest.
        let Subscription { endpoint, p256dh, auth } = &self.subscription;
        sqlx::query("DELETE FROM subscriptions WHERE endpoint = $1")
            .bind(endpoint)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "INSERT INTO subscriptions (endpoint, user_id, p256dh, auth) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (endpoint) DO UPDATE SET user_id = $2, p256dh = $3, auth = $4",
        )
        .bind(endpoint)
        .bind(&self.user)
        .bind(p256dh)
        .bind(auth)
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "DELETE FROM subscriptions WHERE user_id = $1 AND sequence NOT IN \
             (SELECT sequence FROM subscriptions WHERE user_id = $1 ORDER BY sequence DESC LIMIT $2)",
        )
        .bind(&self.user)
        .bind(MAX_SUBSCRIPTIONS)
        .execute(&mut *connection)
        .await?;
        // What waits for whoever had the endpoint before must not reach its new user.
        sqlx::query("DELETE FROM pushes WHERE endpoint = $1 AND user_id <> $2")
            .bind(endpoint)
            .bind(&self.user)
            .execute(connection)
            .await?;
        Ok(())
    }
}

struct Unsubscribe {
    user: String,
    endpoint: String,
}

impl Change for Unsubscribe {
    type Output = bool;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<bool, Refusable<Infallible>> {
        let text = "DELETE FROM subscriptions WHERE endpoint = $1 AND user_id = $2";
        let removed =
            sqlx::query(text).bind(&self.endpoint).bind(&self.user).execute(&mut *connection).await?;
        let text = "DELETE FROM pushes WHERE endpoint = $1 AND user_id = $2";
        sqlx::query(text).bind(&self.endpoint).bind(&self.user).execute(connection).await?;
        Ok(removed.rows_affected() > 0)
    }
}

struct Forget(Subscription);

impl Change for Forget {
    type Output = bool;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<bool, Refusable<Infallible>> {
        let Subscription { endpoint, p256dh, auth } = &self.0;
        let text = "DELETE FROM subscriptions WHERE endpoint = $1 AND p256dh = $2 AND auth = $3";
        let removed =
            sqlx::query(text).bind(endpoint).bind(p256dh).bind(auth).execute(&mut *connection).await?;
        if removed.rows_affected() > 0 {
            let text = "DELETE FROM pushes WHERE endpoint = $1";
            sqlx::query(text).bind(endpoint).execute(connection).await?;
        }
        Ok(removed.rows_affected() > 0)
    }
}

struct RemoveFailing {
    since_ms: i64,
}

impl Change for RemoveFailing {
    type Output = u64;
    type Refusal = Infallible;

    async fn apply(&self, connection: &mut AnyConnection) -> Result<u64, Refusable<Infallible>> {
        let text = "DELETE FROM subscriptions WHERE failing_since_ms > 0 AND failing_since_ms < $1";
        Ok(sqlx::query(text).bind(self.since_ms).execute(connection).await?.rows_affected())
    }
}
