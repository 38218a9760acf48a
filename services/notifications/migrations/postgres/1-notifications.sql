CREATE TABLE notifications (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    title TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    read_ms BIGINT NOT NULL,
    announced BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    UNIQUE (user_id, event_id)
);
CREATE INDEX notifications_of_user ON notifications (user_id, sequence);
CREATE INDEX notifications_unread ON notifications (user_id, sequence) WHERE read_ms = 0;
CREATE INDEX notifications_undelivered ON notifications (user_id, sequence) WHERE delivered = 0;
CREATE INDEX notifications_unannounced ON notifications (created_ms) WHERE announced = 0;
CREATE INDEX notifications_by_age ON notifications (created_ms);

CREATE TABLE subscriptions (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    p256dh TEXT NOT NULL,
    auth TEXT NOT NULL
);
CREATE INDEX subscriptions_of_user ON subscriptions (user_id, sequence);

CREATE TABLE pushes (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint TEXT NOT NULL,
    user_id TEXT NOT NULL,
    p256dh TEXT NOT NULL,
    auth TEXT NOT NULL,
    payload TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX pushes_due ON pushes (due_ms);
CREATE INDEX pushes_of_endpoint ON pushes (endpoint);

CREATE TABLE vapid (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    private_key TEXT NOT NULL
);
