ALTER TABLE subscriptions ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN failing_since_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN rests_until_ms BIGINT NOT NULL DEFAULT 0;
CREATE INDEX subscriptions_failing ON subscriptions (failing_since_ms) WHERE failing_since_ms > 0;
