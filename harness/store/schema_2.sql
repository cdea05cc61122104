-- What schema version 2 adds to schema.sql: the losses of trainings. A database of version 1 gets it
-- when it is opened for writing.
--
-- As there, the tables are private, and the views are public and stable.

CREATE TABLE training (
    n        INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    sweep    TEXT NOT NULL,
    model    TEXT NOT NULL,
    label    TEXT NOT NULL,
    settings TEXT NOT NULL,                -- JSON object
    started  INTEGER NOT NULL              -- seconds since 1970, UTC
);

CREATE TABLE training_step (
    training     INTEGER NOT NULL REFERENCES training ON DELETE CASCADE,
    step         INTEGER NOT NULL,         -- from 1
    tokens       INTEGER NOT NULL,         -- trained on so far
    loss         REAL,                     -- mean of a token, nats
    lr           REAL,
    grad_norm    REAL,
    balance_loss REAL,
    z_loss       REAL,
    experts      REAL,                     -- per token and layer
    seconds      REAL,
    PRIMARY KEY (training, step)
) WITHOUT ROWID;

CREATE TABLE training_heldout (
    training INTEGER NOT NULL REFERENCES training ON DELETE CASCADE,
    step     INTEGER NOT NULL,             -- after it; 0: before the first
    source   TEXT NOT NULL,
    nll      REAL,                         -- summed over `tokens`, nats
    tokens   INTEGER NOT NULL,
    PRIMARY KEY (training, step, source)
) WITHOUT ROWID;

CREATE VIEW v_trainings AS
SELECT id AS training_id, sweep, model, label, settings,
       strftime('%Y-%m-%dT%H:%M:%SZ', started, 'unixepoch') AS started
FROM training;

CREATE VIEW v_training_steps AS
SELECT t.id AS training_id, s.step, s.tokens, s.loss, s.lr, s.grad_norm, s.balance_loss, s.z_loss,
       s.experts, s.seconds
FROM training AS t JOIN training_step AS s ON s.training = t.n;

CREATE VIEW v_training_heldout AS
SELECT t.id AS training_id, h.step, h.source, h.nll, h.tokens
FROM training AS t JOIN training_heldout AS h ON h.training = t.n;
