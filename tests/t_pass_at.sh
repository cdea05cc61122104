#!/bin/sh
# table --pass-at: seeds as samples of the same problems. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

# Four problems, ten seeds; problem d passes in 3 of 10, in all, in none, in 1 of 10.
maker=$(dirname "$seqtopk")/test_summary
[ ! -x "$maker" ] || "$maker" a.db 1 4
sql() { sqlite3 -bail a.db "$1"; }
if [ -s a.db ]; then
    sql "CREATE TEMP TABLE keep AS SELECT n FROM cell WHERE router = 'topk' ORDER BY n LIMIT 1;
        DELETE FROM token; DELETE FROM sample; DELETE FROM metric; DELETE FROM entropy_bin;
        DELETE FROM histogram; DELETE FROM expert_load;
        DELETE FROM cell WHERE n NOT IN (SELECT n FROM keep);
        WITH RECURSIVE s(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM s WHERE x < 9)
        INSERT INTO cell (id, sweep, model, router, mode, k, min, max, params, train, task, seed, device,
            dtype, layers, experts, tokenizer, status, started)
        SELECT 'seed' || x, sweep, model, router, mode, k, min, max, params, train, task, x, device,
            dtype, layers, experts, tokenizer, status, started FROM cell, s;
        UPDATE cell SET seed = 0 WHERE id NOT LIKE 'seed%';
        WITH d(doc) AS (VALUES (0), (1), (2), (3))
        INSERT INTO sample (cell, doc, prompt_tokens, output_tokens, nll_tokens, output, score)
        SELECT n, doc, 1, 1, 0, '', CASE doc WHEN 0 THEN seed < 3 WHEN 1 THEN 1 WHEN 2 THEN 0 ELSE seed = 4 END
        FROM cell, d"
    # pass@1 is the mean; pass@5 of 3 in 10 is 11/12, of 1 in 10 a half.
    at_1() { gives 0 "$seqtopk" table a.db --pass-at 1 --tsv && says '	0.35	0.225	10	4$'; }
    check "pass@1 is the share that passed" at_1
    at_5() { gives 0 "$seqtopk" table a.db --pass-at 5 --tsv && says '	0.604167	'; }
    check "pass@5 draws without bias" at_5
    check "more than there are samples is refused" fails 1 \
        'pass@11 .* wants 11 samples of each problem, and one has 10: run it with more seeds' \
        "$seqtopk" table a.db --pass-at 11
    halves() { sql "UPDATE sample SET score = 0.5 WHERE cell = (SELECT n FROM cell WHERE seed = 2) AND doc = 2"; }
    not_passed() { halves && fails 1 'not all 0 or 1' "$seqtopk" table a.db --pass-at 1; }
    check "a score that neither passes nor fails is refused" not_passed
    doubled() {
        sql "UPDATE sample SET score = 0 WHERE score = 0.5; UPDATE cell SET seed = 3 WHERE seed = 2" &&
            fails 1 'have the same seed, 3' "$seqtopk" table a.db --pass-at 1
    }
    check "two cells with one seed are refused" doubled
    check "other columns do not go with it" fails 2 'pass-at does not go with' "$seqtopk" table a.db --pass-at 1 --metric nll
else
    skip "table --pass-at" "test_summary is not built"
fi

plan
