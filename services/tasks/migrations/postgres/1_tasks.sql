-- Times are milliseconds since 1970, UTC. `state` is the task as its clients gave it, a JSON object.
CREATE TABLE tasks (
    id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    organization TEXT,
    status TEXT NOT NULL,
    priority TEXT,
    state TEXT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);
CREATE INDEX tasks_by_owner ON tasks (owner, created_at, id);
CREATE INDEX tasks_by_age ON tasks (created_at, id);

CREATE TABLE versions (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    version BIGINT NOT NULL,
    state TEXT NOT NULL,
    changed TEXT NOT NULL,
    reason TEXT NOT NULL,
    changed_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (task_id, version)
);

CREATE TABLE dependencies (
    task_id TEXT NOT NULL REFERENCES tasks (id),
    depends_on TEXT NOT NULL REFERENCES tasks (id),
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (task_id, depends_on)
);

-- Events that are committed with the change they tell of, and then published in this order.
CREATE TABLE outbox (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id TEXT NOT NULL,
    event TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    published_at BIGINT
);
CREATE INDEX outbox_to_publish ON outbox (seq) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

-- What was answered to requests that carried an Idempotency-Key.
CREATE TABLE answers (
    asker TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (asker, idempotency_key)
);
CREATE INDEX answers_by_age ON answers (created_at);
