-- SeqTopK (trained in mode global, decoding online) against TopK, paired by seed and document: the
-- mean difference, its standard error by document (a document's three seeds together), and the
-- difference of each seed. score: share of problems solved; nll: nats per token of the answer.
--     sqlite3 -header -separator "$(printf '\t')" results/wordmath.db <results/wordmath/paired.sql
WITH s AS (
    SELECT c.seed, c.router, x.doc, 'score' AS measure, x.score AS value
    FROM v_cells AS c JOIN v_samples AS x USING (cell_id) WHERE c.task = 'wordmath/0shot'
    UNION ALL
    SELECT c.seed, c.router, x.doc, 'nll', x.nll / x.nll_tokens
    FROM v_cells AS c JOIN v_samples AS x USING (cell_id) WHERE c.task = 'wordmath/nll'),
d AS (
    SELECT a.measure, a.seed, a.doc, a.value AS seqtopk, b.value AS topk, a.value - b.value AS d
    FROM s AS a JOIN s AS b USING (measure, seed, doc)
    WHERE a.router = 'seqtopk' AND b.router = 'topk'),
by_doc AS (SELECT measure, doc, avg(d) AS d FROM d GROUP BY 1, 2),
rows AS (
    SELECT measure, 'all' AS seed, 'all' AS steps, avg(topk) AS topk, avg(seqtopk) AS seqtopk FROM d
    GROUP BY 1
    UNION ALL SELECT measure, seed, 'all', avg(topk), avg(seqtopk) FROM d GROUP BY 1, 2
    UNION ALL SELECT measure, 'all', 1 + doc % 4, avg(topk), avg(seqtopk) FROM d GROUP BY 1, 1 + doc % 4),
errors AS (
    SELECT measure, 'all' AS seed, 'all' AS steps, count(*) AS docs, avg(d) AS m, avg(d * d) AS mm
    FROM by_doc GROUP BY 1
    UNION ALL SELECT measure, seed, 'all', count(*), avg(d), avg(d * d) FROM d GROUP BY 1, 2
    UNION ALL SELECT measure, 'all', 1 + doc % 4, count(*), avg(d), avg(d * d) FROM by_doc
    GROUP BY 1, 1 + doc % 4)
SELECT measure, seed, steps, docs, round(topk, 4) AS topk, round(seqtopk, 4) AS seqtopk,
       round(m, 4) AS difference, round(sqrt((mm - m * m) / (docs - 1)), 4) AS se,
       round(m - 1.96 * sqrt((mm - m * m) / (docs - 1)), 4) AS low,
       round(m + 1.96 * sqrt((mm - m * m) / (docs - 1)), 4) AS high
FROM rows JOIN errors USING (measure, seed, steps)
ORDER BY measure DESC, seed = 'all' DESC, seed, steps = 'all' DESC, steps;
