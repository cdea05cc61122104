-- What schema version 4 adds: where numbers come from (recipes, runs, sources), what a sweep is to
-- have (plan), and what each token of the vocabulary got (token_experts). An older database gets it
-- when it is opened for writing.

-- The text of a recipe, as it was when a run read it.
CREATE TABLE recipe (
    n    INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,             -- of the text
    path TEXT NOT NULL,                    -- as it was named
    text TEXT NOT NULL
);

-- A run of the program that writes here: one row, however many processes it has.
CREATE TABLE run (
    n        INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,         -- random, so that merged databases can tell runs apart
    recipe   INTEGER REFERENCES recipe,    -- null: the work came without one
    sweep    TEXT NOT NULL,
    command  TEXT NOT NULL,                -- as a shell would take it
    version  TEXT NOT NULL,                -- of the program
    revision TEXT NOT NULL,                -- commit it was built from, "-dirty" where it was changed; ''
    libtorch TEXT NOT NULL,
    blas     TEXT NOT NULL,
    device   TEXT NOT NULL,                -- the processor's name, or the GPUs'
    driver   TEXT NOT NULL,                -- of the GPU; '' on the CPU
    host     TEXT NOT NULL,
    shard    TEXT,                         -- of several: "3 of 16"
    started  INTEGER NOT NULL,             -- seconds since 1970, UTC
    ended    INTEGER,                      -- null: under way, or killed
    outcome  TEXT,                         -- 'done', 'failed', 'interrupted'; null: no end was seen
    seconds  REAL NOT NULL DEFAULT 0,      -- since its start, at its last commit, by a steady clock
    trained  REAL NOT NULL DEFAULT 0,      -- of these, in which a model was trained
    samples  INTEGER NOT NULL DEFAULT 0,   -- that it added
    tokens   INTEGER NOT NULL DEFAULT 0
);

-- What was read: weights, tokenizers, data, by the hash of what is in them.
CREATE TABLE source (
    n    INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,                    -- 'weights', 'tokenizer', 'data', 'training data'
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    UNIQUE (kind, name, hash)
);

CREATE TABLE cell_source (
    cell   INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    source INTEGER NOT NULL REFERENCES source,
    PRIMARY KEY (cell, source)
) WITHOUT ROWID;

CREATE TABLE cell_run (
    cell    INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    run     INTEGER NOT NULL REFERENCES run,
    samples INTEGER NOT NULL DEFAULT 0,    -- that this run added to the cell
    PRIMARY KEY (cell, run)
) WITHOUT ROWID;

-- What the newest run of a sweep was to have in the end: all cells of its recipe, those of other
-- shards too. A cell of the sweep that is not here is an orphan: no recipe asks for it any more.
CREATE TABLE plan (
    sweep  TEXT NOT NULL,
    id     TEXT NOT NULL,                  -- the cell's
    recipe INTEGER NOT NULL REFERENCES recipe,
    model  TEXT NOT NULL,
    label  TEXT NOT NULL,                  -- router and bounds
    k      INTEGER NOT NULL,
    train  TEXT NOT NULL,
    task   TEXT NOT NULL,
    samples INTEGER NOT NULL,
    tokens  INTEGER NOT NULL,              -- an estimate of the work
    PRIMARY KEY (sweep, id)
) WITHOUT ROWID;

-- Experts by the token's text, over all layers and samples of a cell: a part of its summary.
CREATE TABLE token_experts (
    cell    INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    id      INTEGER NOT NULL,              -- the token's
    tokens  INTEGER NOT NULL,              -- how often it was read
    experts INTEGER NOT NULL,              -- summed over them and the layers
    entropy REAL,                          -- mean of the predictions made there, nats
    PRIMARY KEY (cell, id)
) WITHOUT ROWID;

CREATE VIEW v_recipes AS
SELECT hash AS recipe_hash, path, text FROM recipe;

CREATE VIEW v_runs AS
SELECT r.id AS run_id, r.sweep, c.hash AS recipe_hash, r.command, r.version, r.revision, r.libtorch,
       r.blas, r.device, r.driver, r.host, r.shard,
       strftime('%Y-%m-%dT%H:%M:%SZ', r.started, 'unixepoch') AS started,
       strftime('%Y-%m-%dT%H:%M:%SZ', r.ended, 'unixepoch') AS ended, r.outcome, r.seconds,
       r.samples, r.tokens
FROM run AS r LEFT JOIN recipe AS c ON c.n = r.recipe;

CREATE VIEW v_cell_runs AS
SELECT c.id AS cell_id, r.id AS run_id, x.samples
FROM cell_run AS x JOIN cell AS c ON c.n = x.cell JOIN run AS r ON r.n = x.run;

CREATE VIEW v_sources AS
SELECT c.id AS cell_id, s.kind, s.name, s.hash
FROM cell_source AS x JOIN cell AS c ON c.n = x.cell JOIN source AS s ON s.n = x.source;

CREATE VIEW v_token_experts AS
SELECT c.id AS cell_id, e.id AS token_id, x.text AS token, e.tokens,
       e.experts * 1.0 / (e.tokens * c.layers) AS experts, e.entropy
FROM token_experts AS e
JOIN cell AS c ON c.n = e.cell
LEFT JOIN token_text AS x ON x.tokenizer = c.tokenizer AND x.id = e.id;
