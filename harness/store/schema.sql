-- The results database of seqtopk: schema version 1. Later versions add to it: schema_2.sql
-- and on (STORE_VERSION in store_impl.h).
--
-- The tables are private. The views below are public and stable: their names, columns and order
-- are a promise. Everything is keyed by a cell's number, not its 32-character id, so that a token's
-- row stays near 40 bytes; the views turn it back.

CREATE TABLE tokenizer (
    n    INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE
);

CREATE TABLE cell (
    n         INTEGER PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    sweep     TEXT NOT NULL,
    model     TEXT NOT NULL,
    router    TEXT NOT NULL,
    mode      TEXT,
    k         INTEGER NOT NULL,
    min       INTEGER,
    max       INTEGER,
    params    TEXT NOT NULL,
    train     TEXT NOT NULL,
    task      TEXT NOT NULL,
    seed      INTEGER NOT NULL,
    device    TEXT NOT NULL,
    dtype     TEXT NOT NULL,
    layers    INTEGER NOT NULL,
    experts   INTEGER NOT NULL,
    tokenizer INTEGER NOT NULL REFERENCES tokenizer,
    status    TEXT NOT NULL CHECK (status IN ('unfinished', 'done', 'failed')),
    error     TEXT,
    started   INTEGER NOT NULL,            -- seconds since 1970, UTC
    seconds   REAL NOT NULL DEFAULT 0,
    samples   INTEGER NOT NULL DEFAULT 0,  -- counted here, so that nobody has to scan for it
    tokens    INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE metric (
    cell   INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    metric TEXT NOT NULL,
    value  REAL,
    stderr REAL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (cell, metric)
) WITHOUT ROWID;

CREATE TABLE sample (
    cell          INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    doc           INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    stop_reason   TEXT,
    nll           REAL,
    nll_tokens    INTEGER NOT NULL,
    output        TEXT,
    extracted     TEXT,
    score         REAL,
    error         TEXT,
    UNIQUE (cell, doc)
);

CREATE TABLE token_text (
    tokenizer INTEGER NOT NULL REFERENCES tokenizer,
    id        INTEGER NOT NULL,
    text,                                  -- a blob where the bytes are not UTF-8
    PRIMARY KEY (tokenizer, id)
) WITHOUT ROWID;

CREATE TABLE token (
    cell     INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    doc      INTEGER NOT NULL,
    pos      INTEGER NOT NULL,
    id       INTEGER NOT NULL,
    nll      REAL,
    entropy  REAL,
    experts  INTEGER,                      -- summed over the layers
    by_layer TEXT,                         -- "8,7,9,8": the JSON array without its brackets
    PRIMARY KEY (cell, doc, pos)
) WITHOUT ROWID;

CREATE TABLE expert_load (
    cell   INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    layer  INTEGER NOT NULL,
    expert INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    weight REAL,
    PRIMARY KEY (cell, layer, expert)
) WITHOUT ROWID;

CREATE TABLE entropy_bin (
    cell         INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    layer        INTEGER NOT NULL,         -- -1: the mean over the layers
    bin          INTEGER NOT NULL,
    entropy_lo   REAL NOT NULL,
    entropy_hi   REAL NOT NULL,
    entropy_mean REAL,
    tokens       INTEGER NOT NULL,
    experts_mean REAL,
    experts_sd   REAL,
    experts_se   REAL,
    PRIMARY KEY (cell, layer, bin)
) WITHOUT ROWID;

CREATE TABLE histogram (
    cell    INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    layer   INTEGER NOT NULL,
    experts INTEGER NOT NULL,
    tokens  INTEGER NOT NULL,
    PRIMARY KEY (cell, layer, experts)
) WITHOUT ROWID;

CREATE VIEW v_cells AS
SELECT id AS cell_id, sweep, model, router, mode, k, min, max, params, train, task, seed, device,
       dtype, status, error, strftime('%Y-%m-%dT%H:%M:%SZ', started, 'unixepoch') AS started,
       seconds
FROM cell;

CREATE VIEW v_metrics AS
SELECT c.id AS cell_id, m.metric, m.value, m.stderr, m.n
FROM cell AS c JOIN metric AS m ON m.cell = c.n;

CREATE VIEW v_samples AS
SELECT c.id AS cell_id, s.doc, s.prompt_tokens, s.output_tokens, s.stop_reason, s.nll,
       s.nll_tokens, s.output, s.extracted, s.score, s.error
FROM cell AS c JOIN sample AS s ON s.cell = c.n;

CREATE VIEW v_tokens AS
SELECT c.id AS cell_id, t.doc, t.pos, t.id AS token_id, x.text AS token, t.nll, t.entropy,
       t.experts * 1.0 / c.layers AS experts, '[' || t.by_layer || ']' AS experts_by_layer
FROM cell AS c
JOIN token AS t ON t.cell = c.n
LEFT JOIN token_text AS x ON x.tokenizer = c.tokenizer AND x.id = t.id;

CREATE VIEW v_entropy_bins AS
SELECT c.id AS cell_id, nullif(b.layer, -1) AS layer, b.bin, b.entropy_lo, b.entropy_hi, b.tokens,
       b.experts_mean, b.experts_sd
FROM cell AS c JOIN entropy_bin AS b ON b.cell = c.n;

CREATE VIEW v_expert_load AS
SELECT c.id AS cell_id, l.layer, l.expert, l.tokens, l.weight
FROM cell AS c JOIN expert_load AS l ON l.cell = c.n;
