-- Loss of every cell against topk of the same model and K, paired by document: mean difference in nats
-- per answer token, and its standard error by document (delta method). Negative: better than topk.
--     sqlite3 -header -separator "$(printf '\t')" results/gsm8k_sweep.db <results/gsm8k_sweep/paired.sql
WITH s AS (
    SELECT c.model, c.k, c.router, coalesce(c.mode, '') AS mode, c.min, c.max, x.doc, x.nll,
           x.nll_tokens AS n
    FROM v_cells AS c JOIN v_samples AS x USING (cell_id)),
d AS (
    SELECT a.model, a.k, a.router, a.mode, a.min, a.max, a.nll - b.nll AS d, a.n
    FROM s AS a JOIN s AS b USING (model, k, doc) WHERE b.router = 'topk' AND a.router <> 'topk'),
m AS (
    SELECT model, k, router, mode, min, max, sum(d) / sum(n) AS diff, count(*) AS docs,
           sum(d * d) AS dd, sum(d * n) AS dn, sum(n * n) AS nn, sum(n) AS tokens
    FROM d GROUP BY 1, 2, 3, 4, 5, 6)
SELECT model, k, router || ' ' || mode AS router, min, max, round(diff, 4) AS difference,
       round(sqrt((dd - 2 * diff * dn + diff * diff * nn) * docs / (docs - 1.0)) / tokens, 4) AS se
FROM m ORDER BY model, k DESC, router, max;
