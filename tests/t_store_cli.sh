#!/bin/sh
# status, table and plot, end to end, on a made-up sweep; needs no model. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
maker=$(dirname "$seqtopk")/test_summary

# none FOLDER ENDING: no file there ends so.
none() {
    [ -z "$(find "$1" -name "*.$2")" ]
}

"$maker" a.db 1 6 >out 2>err || { cat err; echo "Bail out! no database"; exit 1; }
cat <<'EOF' >one.py
import json, sys
rows = json.load(open("out"))
assert len(rows) == 42, len(rows)
assert all(r["status"] == "done" and r["nll"] > 0 for r in rows)
assert [r["k"] for r in rows] == [8] * 14 + [4] * 14 + [2] * 14
assert rows[0]["router"] == "topk" and rows[0]["spearman"] is None
assert rows[1]["router"] == "seqtopk global [1, 9]"
assert rows[1]["spearman_low"] < rows[1]["spearman"] < rows[1]["spearman_high"]
EOF

status_json() {
    gives 0 "$seqtopk" status --json a.db && grep -q '"cells": 42' out && grep -q '"samples": 252' out
}
table_text() {
    gives 0 "$seqtopk" table a.db && [ "$(wc -l <out)" -eq 43 ] && grep -q 'online \[1, 10\].* ± ' out
}
table_json() {
    gives 0 "$seqtopk" table a.db --json && { ! command -v python3 >/dev/null || python3 one.py 2>err; }
}
table_tsv() {
    gives 0 "$seqtopk" table a.db --tsv --where "k = 4 AND mode = 'strict'" && [ "$(wc -l <out)" -eq 5 ] &&
        [ "$(awk -F '\t' '{ print NF }' out | sort -u | wc -l)" -eq 1 ]
}
table_markdown() {
    gives 0 "$seqtopk" table a.db --markdown --metric experts_first --metric=experts_last &&
        head -1 out | grep -q 'experts\\_first | experts\\_last |$' && [ "$(wc -l <out)" -eq 44 ]
}
# Nothing of the database changes, and no file is left beside it.
untouched() {
    before=$(cksum <a.db)
    gives 0 "$seqtopk" table a.db && gives 0 "$seqtopk" status a.db && [ "$before" = "$(cksum <a.db)" ] &&
        [ ! -e a.db-wal ] && [ ! -e a.db-shm ]
}
plots() {
    gives 0 "$seqtopk" plot a.db --out fig --name p --where "max = k + 2 OR router = 'topk'" || return 1
    [ "$(wc -l <out)" -eq 44 ] || return 1
    for f in p-entropy p-entropy_layers-k8 p-entropy_layers-k4 p-entropy_layers-k2 p-histogram p-positions-k8 p-load-k2; do
        grep -qx "fig/$f.svg" out && grep -q '</svg>' "fig/$f.svg" || return 1
        grep -qx "fig/$f.png" out && [ "$(head -c 4 "fig/$f.png" | tail -c 3)" = PNG ] || return 1
        [ "$(wc -l <"fig/$f.tsv")" -gt 20 ] || return 1
    done
    [ ! -s err ] && none fig tmp
}
# The script draws the same again by itself.
script_alone() {
    (cd fig && rm p-entropy.svg && gnuplot p-entropy.gp && [ -s p-entropy.svg ]) >out 2>err
}
without_gnuplot() {
    mkdir -p bin
    said=$(PATH=$trash/bin "$seqtopk" plot a.db --out none --where "router = 'batchtopk'" 2>&1 >out)
    [ "$said" = "seqtopk: gnuplot is not installed; type: sudo apt-get install gnuplot-nox" ] &&
        none none svg && none none png
}
# Two trainings of a run, as the store keeps them; no cell.
train() {
    sqlite3 "$1" "INSERT INTO training VALUES (1, 't1', 'tuned', 'toy', 'sft, topk', '{}', 0), (2, 't2', 'tuned', 'toy', 'sft, seqtopk', '{}', 0);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
        INSERT INTO training_step SELECT t.n, i, 64 * i, 1 + 2.0 / i + 0.1 * t.n, 0.001, 1, NULL, NULL, 2, 0.1 FROM n, training AS t;
        INSERT INTO training_heldout SELECT n, 60, 'texts', 25, 20 FROM training"
}
plots_trainings() {
    cp a.db t.db && train t.db && gives 0 "$seqtopk" plot t.db --out fig3 --where "k = 8 AND mode = 'online'" || return 1
    [ "$(wc -l <out)" -eq 24 ] && grep -qx fig3/training.svg out && grep -q '</svg>' fig3/training.svg || return 1
    [ "$(head -c 4 fig3/training.png | tail -c 3)" = PNG ] && [ "$(wc -l <fig3/training.tsv)" -eq 123 ] &&
        [ ! -s err ] && none fig3 tmp
}
plots_trainings_alone() {
    cp a.db u.db && train u.db && sqlite3 u.db "PRAGMA foreign_keys = ON; DELETE FROM cell" || return 1
    gives 0 "$seqtopk" plot u.db --out fig4 --name p && [ "$(wc -l <out)" -eq 4 ] && [ -s fig4/p-training.png ]
}
version_1() {
    sqlite3 v1.db <"$root/tests/data/store-v1.sql" >/dev/null && before=$(cksum <v1.db) || return 1
    for v1 in status table "plot --out fig5"; do
        # shellcheck disable=SC2086 # words of a command
        gives 0 "$seqtopk" $v1 v1.db && [ ! -s err ] || return 1
    done
    [ "$before" = "$(cksum <v1.db)" ] && none fig5 training.svg
}
failing_gnuplot() {
    printf '#!/bin/sh\necho half >p.svg.tmp\necho "line 3: undefined" >&2\nexit 1\n' >bin/gnuplot
    chmod +x bin/gnuplot
    PATH=$trash/bin:$PATH gives 1 "$seqtopk" plot a.db --out bad || return 1
    grep -q 'gnuplot failed: line 3: undefined' err && none bad svg && none bad png
}
status_without_a_name() {
    mkdir -p results && cp a.db results/x.db && gives 0 "$seqtopk" status && grep -q '^results/x.db .*42' out
}

check "status counts cells, samples and tokens" status_json
check "status without a name looks into results" status_without_a_name
check "table has a row for each cell" table_text
check "table --json has numbers, intervals and nulls" table_json
check "table --tsv --where chooses cells" table_tsv
check "table --markdown --metric shows what is asked for" table_markdown
check "reading changes nothing and leaves no file" untouched
check "plot writes figures with their data" plots
if command -v gnuplot >/dev/null; then
    check "a script draws its figure by itself" script_alone
fi
# foreign DB TABLE COLUMN: takes away a value that is never missing in a database of ours.
foreign() {
    sqlite3 "$1" "PRAGMA writable_schema = ON;
        UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE type = 'table'" &&
        sqlite3 "$1" "UPDATE $2 SET $3 = NULL"
}
foreign_cells() {
    cp a.db f.db && foreign f.db cell router &&
        fails 1 "f.db: a row without router; no seqtopk wrote that" "$seqtopk" table f.db
}
foreign_trainings() {
    cp a.db g.db && train g.db && foreign g.db training label &&
        fails 1 "g.db: a row without label; no seqtopk wrote that" "$seqtopk" plot g.db --out foreign
}
if command -v sqlite3 >/dev/null; then
    check "plot draws the losses of trainings too" plots_trainings
    check "plot draws trainings where there is no cell" plots_trainings_alone
    check "a database of the first version is read as it is" version_1
    check "a cell without a router is refused" foreign_cells
    check "a training without a label is refused" foreign_trainings
else
    skip "plot draws the losses of trainings too" "no sqlite3 to put a training in with"
    skip "plot draws trainings where there is no cell" "no sqlite3 to put a training in with"
    skip "a database of the first version is read as it is" "no sqlite3 to make it with"
    skip "a cell without a router is refused" "no sqlite3 to make it with"
    skip "a training without a label is refused" "no sqlite3 to make it with"
fi
check "without gnuplot plot says what to type" without_gnuplot
check "a failing gnuplot is quoted and leaves no picture" failing_gnuplot
check "a condition that is none is refused" \
    fails 1 "no such column: kk" "$seqtopk" table a.db --where "kk = 8"
check "a condition cannot write" \
    fails 1 "only one statement" "$seqtopk" table a.db --where "1); DELETE FROM cell; --"
check "a metric that no cell has is refused with those there are" \
    fails 1 "has a metric 'nil'; the first has" "$seqtopk" table a.db --metric nil
check "two formats at once are refused" \
    fails 2 "only one of" "$seqtopk" table a.db --json --tsv
check "a database that is not there is named" fails 1 "no.db: No such file" "$seqtopk" table no.db
check "another file is named" fails 1 "one.py: is not a seqtopk database" "$seqtopk" status one.py
check "nothing to draw is said" \
    fails 1 "has no cell for which the condition holds" "$seqtopk" plot a.db --where "k = 99"
check "a name that looks like an option is refused" fails 2 "may not begin" "$seqtopk" plot a.db --name -x
check "an empty folder's name is refused" fails 2 "a folder's name" "$seqtopk" plot a.db --out ""
check "a name with a slash is refused" fails 2 "--name" "$seqtopk" plot a.db --name a/b
plan
