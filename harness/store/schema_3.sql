-- What schema version 3 adds: what is worth knowing of how a cell was computed, and the processes of
-- a run that has several. An older database gets it when it is opened for writing.

ALTER TABLE cell ADD COLUMN note TEXT;

DROP VIEW v_cells;
CREATE VIEW v_cells AS
SELECT id AS cell_id, sweep, model, router, mode, k, min, max, params, train, task, seed, device,
       dtype, status, error, strftime('%Y-%m-%dT%H:%M:%SZ', started, 'unixepoch') AS started,
       seconds, note
FROM cell;

-- Of the run that is under way, or that was killed last: it clears this at its end.
CREATE TABLE process (
    n      INTEGER PRIMARY KEY,            -- from 0
    pid    INTEGER NOT NULL,
    device TEXT NOT NULL,
    doing  TEXT NOT NULL,
    since  INTEGER NOT NULL                -- seconds since 1970, UTC
);
