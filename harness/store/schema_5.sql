-- What schema version 5 adds: what a recipe may have logged beside counts (overlap with other
-- routers, entropies by expert), and what a cell's summary says by position and by kind of token. An
-- older database gets it when it is opened for writing.

-- What a router selected of a document, against what another would have from the same scores.
CREATE TABLE overlap (
    cell  INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    doc   INTEGER NOT NULL,
    other TEXT NOT NULL,                   -- "topk", "seqtopk_global"
    layer INTEGER NOT NULL,
    both   INTEGER NOT NULL,               -- token-expert pairs that both selected,
    ours   INTEGER NOT NULL,               -- that the cell's router did,
    theirs INTEGER NOT NULL,               -- that the other did
    PRIMARY KEY (cell, doc, other, layer)
) WITHOUT ROWID;

-- Predictive entropies at the tokens that an expert took, summed.
CREATE TABLE expert_entropy (
    cell    INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    layer   INTEGER NOT NULL,
    expert  INTEGER NOT NULL,
    entropy REAL NOT NULL,                 -- nats
    PRIMARY KEY (cell, layer, expert)
) WITHOUT ROWID;

-- A part of a cell's summary: tokens by their place in the sequence, in bins that double.
CREATE TABLE position_bin (
    cell         INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    bin          INTEGER NOT NULL,
    pos_lo       INTEGER NOT NULL,         -- from here ...
    pos_hi       INTEGER NOT NULL,         -- ... to before here
    tokens       INTEGER NOT NULL,
    scored       INTEGER NOT NULL,         -- tokens with a loss that counts
    nll_mean     REAL,                     -- of them, nats
    nll_se       REAL,                     -- by document
    experts_mean REAL,                     -- per token and layer
    experts_se   REAL,
    used_share   REAL,                     -- experts over K, of all tokens from the sequence's start
    differ       REAL,                     -- share of token and layer whose number is not K
    PRIMARY KEY (cell, bin)
) WITHOUT ROWID;

-- A part of a cell's summary: tokens by what kind of text they are.
CREATE TABLE token_kind (
    cell         INTEGER NOT NULL REFERENCES cell ON DELETE CASCADE,
    kind         TEXT NOT NULL,
    tokens       INTEGER NOT NULL,
    experts_mean REAL,                     -- per token and layer
    experts_se   REAL,                     -- by document
    entropy_mean REAL,                     -- of the predictions made there, nats
    entropy_se   REAL,
    PRIMARY KEY (cell, kind)
) WITHOUT ROWID;

CREATE VIEW v_overlap AS
SELECT c.id AS cell_id, o.doc, o.other, o.layer, o.both, o.ours, o.theirs
FROM overlap AS o JOIN cell AS c ON c.n = o.cell;

CREATE VIEW v_position_bins AS
SELECT c.id AS cell_id, p.bin, p.pos_lo, p.pos_hi, p.tokens, p.scored, p.nll_mean, p.nll_se,
       p.experts_mean, p.experts_se, p.used_share, p.differ
FROM position_bin AS p JOIN cell AS c ON c.n = p.cell;

CREATE VIEW v_token_kinds AS
SELECT c.id AS cell_id, k.kind, k.tokens, k.experts_mean, k.experts_se, k.entropy_mean, k.entropy_se
FROM token_kind AS k JOIN cell AS c ON c.n = k.cell;

-- With the mean entropy at the tokens that the expert took, where it was logged.
DROP VIEW v_expert_load;
CREATE VIEW v_expert_load AS
SELECT c.id AS cell_id, l.layer, l.expert, l.tokens, l.weight,
       e.entropy / nullif(l.tokens, 0) AS entropy
FROM cell AS c
JOIN expert_load AS l ON l.cell = c.n
LEFT JOIN expert_entropy AS e ON e.cell = l.cell AND e.layer = l.layer AND e.expert = l.expert;
