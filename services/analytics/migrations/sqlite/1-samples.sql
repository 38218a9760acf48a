-- Times are nanoseconds since 1970.

-- A model and a version; names stand once.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    model_name TEXT NOT NULL,
    version TEXT NOT NULL,
    UNIQUE (model_name, version)
);

CREATE TABLE inference (
    time INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    user_id TEXT,
    latency_ms REAL NOT NULL,
    tokens_used INTEGER,
    confidence REAL,
    cost REAL,
    success INTEGER NOT NULL,
    event_time INTEGER
);

-- All inferences of a minute (minutes since 1970), those whose rows are gone included.
CREATE TABLE rollup (
    series INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    count INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cost REAL NOT NULL,
    latency BLOB NOT NULL,
    PRIMARY KEY (series, minute)
) WITHOUT ROWID;

CREATE TABLE training (
    time INTEGER PRIMARY KEY,
    experiment_id TEXT,
    model_name TEXT NOT NULL,
    status TEXT NOT NULL,
    progress REAL,
    step INTEGER,
    event_time INTEGER,
    metrics TEXT NOT NULL
);
CREATE INDEX training_of_experiment ON training (experiment_id, time) WHERE experiment_id IS NOT NULL;
CREATE INDEX training_of_model ON training (model_name, time);

CREATE TABLE metric (
    user_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    time INTEGER NOT NULL,
    tags TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (user_id, metric, time, tags)
) WITHOUT ROWID;
CREATE INDEX metric_by_time ON metric (time);

-- From when on each kind has all its rows: older ones were removed, and none is added.
CREATE TABLE kept (
    kind TEXT PRIMARY KEY,
    since INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO kept (kind, since) VALUES
    ('inference', -9223372036854775808), ('training', -9223372036854775808), ('metric', -9223372036854775808);
