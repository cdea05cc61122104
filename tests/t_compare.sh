#!/bin/sh
# compare, end to end, on made-up cells: what is printed against numbers worked out by hand, what is
# doubtful, and what is refused. Needs no model. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
maker=$(dirname "$seqtopk")/test_summary

"$maker" a.db 1 24 >out 2>err || { cat err; echo "Bail out! no database"; exit 1; }
sql() { sqlite3 -bail "$1" "$2"; }
topk="router = 'topk' AND k = 8"
online="mode = 'online' AND max = 10 AND k = 8"
a=$(sql a.db "SELECT cell_id FROM v_cells WHERE $topk")
b=$(sql a.db "SELECT cell_id FROM v_cells WHERE $online")
[ "${#a} ${#b}" = "32 32" ] || { echo "Bail out! no cells"; exit 1; }
# score DB WHICH CONDITION: 1 where it holds of the document, 0 elsewhere.
score() {
    sql "$1" "UPDATE sample SET score = ($3) WHERE cell = (SELECT n FROM cell WHERE id = '$2')"
}
value() { # JSON PATH of what was printed
    sqlite3 :memory: "SELECT json_extract(CAST(readfile('out') AS TEXT), '$.$1')"
}
near() { # PATH WANTED EPS
    [ "$(sqlite3 :memory: "SELECT abs(json_extract(CAST(readfile('out') AS TEXT), '$.$1') - ($2)) <= $3")" = 1 ] && return
    echo "$1 is $(value "$1"), not $2" >>err
    return 1
}

# ---- scores ----

# Of 24 documents A has 0..15 and 20 right, B 8..23: both 9, only A 8, only B 7.
cp a.db s.db
score s.db "$a" 'doc < 16 OR doc = 20'
score s.db "$b" 'doc >= 8'
scores() {
    gives 0 "$seqtopk" compare s.db "$a" "$b" --json && [ ! -s err ] && [ "$(value metric)" = score ] && [ "$(value documents)" = 24 ] &&
        near a.value 17.0/24 1e-12 && near b.value 16.0/24 1e-12 && near difference.value 1.0/24 1e-12 &&
        # Sample variance of 17 ones in 24: 17 * 7 / 24 / 23; of the differences: (15 - 1/24) / 23.
        near a.stderr 'sqrt(17.0 * 7 / 24 / 23 / 24)' 1e-12 && near difference.stderr 'sqrt((15 - 1.0 / 24) / 23 / 24)' 1e-12 &&
        near difference.low '1.0/24 - 1.96 * 0.1645' 0.045 && near difference.high '1.0/24 + 1.96 * 0.1645' 0.045 &&
        [ "$(value mcnemar.only_a)" = 8 ] && [ "$(value mcnemar.only_b)" = 7 ] && near mcnemar.p 1 1e-12
}
check "scores: means, errors, difference, interval and test are those worked out by hand" scores
text() {
    gives 0 "$seqtopk" compare s.db "$topk" "$online" && [ ! -s err ] && says 'score ± se$' "^A *$(echo "$a" | cut -c 1-8).* 0.7083 ± 0.0948$" \
        '^nll:texts.jsonl, 24 documents that both have$' '^A - B = 0.0417 ± 0.1646, 95 % interval \[-0\.[23].*, 0\.[34].*\]$' \
        '^McNemar: only A is right on 8, only B on 7; p = 1 '
}
check "conditions choose cells, and people get the same in words" text
again() {
    cp out one && gives 0 "$seqtopk" compare s.db "$topk" "$online" && cmp out one
}
check "the same question has the same answer" again
one_sided() {
    cp a.db o.db && score o.db "$a" 'doc < 10' && score o.db "$b" 'doc < 2 OR doc = 23' &&
        gives 0 "$seqtopk" compare o.db "$a" "$b" --json && near mcnemar.p '2 * 10 / 512.0' 1e-12 &&
        gives 0 "$seqtopk" compare o.db "$b" "$a" --json && near mcnemar.p '2 * 10 / 512.0' 1e-12 && near difference.value '-7.0/24' 1e-12
}
check "B first turns the sign, and not the test" one_sided
same() {
    cp a.db e.db && score e.db "$a" 'doc % 2' && score e.db "$b" 'doc % 2' &&
        gives 0 "$seqtopk" compare e.db "$a" "$b" --json && near mcnemar.p 1 0 && near difference.low 0 0 && near difference.high 0 0
}
check "sides that nowhere differ: no width, p = 1" same
parts() {
    cp s.db p.db && sql p.db "UPDATE sample SET score = 0.25 WHERE doc = 3 AND score IS NOT NULL" &&
        gives 0 "$seqtopk" compare p.db "$a" "$b" --json && [ -z "$(value mcnemar)" ] && gives 0 "$seqtopk" compare p.db "$a" "$b" && ! grep -q McNemar out
}
check "scores between 0 and 1 have no McNemar test" parts

# ---- losses ----

losses() {
    gives 0 "$seqtopk" compare a.db "$a" "$b" --json && [ "$(value metric)" = nll ] && [ -z "$(value mcnemar)" ] &&
        near a.value "$(sql a.db "SELECT sum(nll) / sum(nll_tokens) FROM v_samples WHERE cell_id = '$a'")" 1e-9 &&
        near a.value "$(sql a.db "SELECT value FROM v_metrics WHERE cell_id = '$a' AND metric = 'nll'")" 1e-5 &&
        near a.stderr "$(sql a.db "SELECT stderr FROM v_metrics WHERE cell_id = '$a' AND metric = 'nll'")" 1e-5
}
check "without scores losses are compared, and are those of the table" losses
asked() {
    gives 0 "$seqtopk" compare s.db "$a" "$b" --metric nll --json && [ "$(value metric)" = nll ]
}
check "--metric nll where there are scores" asked
weighted() {
    # A: 100 tokens of loss 1 and 23 documents of one token with loss 3; B: 2 each.
    cp a.db w.db && sql w.db "UPDATE sample SET output_tokens = 0;
        UPDATE sample SET nll_tokens = iif(doc = 0, 100, 1), nll = iif(doc = 0, 100, 3) WHERE cell = (SELECT n FROM cell WHERE id = '$a');
        UPDATE sample SET nll_tokens = 1, nll = 2 WHERE cell = (SELECT n FROM cell WHERE id = '$b')" &&
        gives 0 "$seqtopk" compare w.db "$a" "$b" --json && near a.value '169.0/123' 1e-9 && near b.value 2 0 && near difference.high 1 1e-9 &&
        grep -q 'warning: the data are not the same: the tokens of 1 document differ, the first is document 0' err
}
check "a loss is a sum over a sum, and lengths that differ are warned of" weighted

# ---- seeds ----

# Three seeds of A and of B: copies of the cells with other scores.
seeds() {
    cp s.db k.db && for which in "$a" "$b"; do
        for seed in 1 2; do
            sql k.db "CREATE TEMP TABLE c AS SELECT * FROM cell WHERE id = '$which';
                UPDATE c SET n = (SELECT max(n) + 1 FROM cell), id = substr('$seed' || id, 1, 32), seed = $seed;
                INSERT INTO cell SELECT * FROM c;
                CREATE TEMP TABLE p AS SELECT * FROM sample WHERE cell = (SELECT n FROM cell WHERE id = '$which');
                UPDATE p SET cell = (SELECT n FROM c), score = iif(doc = 0, 1 - score, score);
                INSERT INTO sample SELECT * FROM p;" || return 1
        done
    done
    # Document 0: A has 1, 0, 0 and B 0, 1, 1, so 1/3 against 2/3; the others as before.
    gives 0 "$seqtopk" compare k.db "$topk" "$online" --json && [ ! -s err ] && [ "$(value 'a.seeds[2]')" = 2 ] && [ "$(value documents)" = 24 ] &&
        near difference.value '(1 - 1 - 1.0/3) / 24' 1e-12 && [ -z "$(value mcnemar)" ] &&
        gives 0 "$seqtopk" compare k.db "$topk" "$online" && says '0, 1, 2 ' 'under each of the seeds$' 'by document and [0-9.]* by seed; Student' &&
        # By seed 1/24, -1/24 and -1/24.
        gives 0 "$seqtopk" compare k.db "$topk" "$online" --json && near difference.stderr_by_seed '2.0/3/24' 1e-12 &&
        near difference.stderr "sqrt(4.0/9/576 + $(value difference.stderr_by_document) * $(value difference.stderr_by_document))" 1e-9
}
check "cells that differ in the seed are pooled, a document being one observation" seeds
rare() {
    # Sums of 0 and 1 over the seeds, which are not one answer each.
    cp k.db r.db && sql r.db "UPDATE sample SET score = 0; UPDATE sample SET score = doc % 2 WHERE cell = (SELECT n FROM cell WHERE id = '$a')" &&
        gives 0 "$seqtopk" compare r.db "$topk" "$online" --json && near a.value '12.0 / 72' 1e-12 && [ -z "$(value mcnemar)" ]
}
check "several seeds have no McNemar test" rare
twins() {
    cp k.db y.db && sql y.db "UPDATE cell SET seed = 0 WHERE id LIKE '1' || substr('$a', 1, 31)" &&
        fails 1 "differ in the id" "$seqtopk" compare y.db "$topk" "$online"
}
check "nor are cells of one seed that differ in what is not shown" twins
check "other seeds on the other side are refused" \
    fails 1 "A has 3 seeds and B has 2" "$seqtopk" compare k.db "$topk" "$online AND seed > 0"
check "cells that differ in more are no side" \
    fails 1 "A, 'k = 8', fits 18 cells, those above, which differ in the router" "$seqtopk" compare k.db "k = 8" "$b"

# ---- doubts ----

missing() {
    cp s.db m.db && sql m.db "DELETE FROM sample WHERE doc IN (0, 1, 2) AND cell = (SELECT n FROM cell WHERE id = '$a');
        DELETE FROM sample WHERE doc = 23 AND cell = (SELECT n FROM cell WHERE id = '$b');
        UPDATE sample SET score = NULL WHERE doc = 10 AND cell = (SELECT n FROM cell WHERE id = '$b');
        UPDATE sample SET error = 'too long' WHERE doc = 11 AND cell = (SELECT n FROM cell WHERE id = '$b')" &&
        gives 0 "$seqtopk" compare m.db "$a" "$b" --json && [ "$(value documents)" = 18 ] && [ "$(value only_a)" = 2 ] && [ "$(value only_b)" = 3 ] &&
        [ "$(value without_value)" = 1 ] && grep -q 'warning: left out: 2 documents that only A has, 3 that only B has' err &&
        grep -q 'left out: 1 document without a score' err && grep -q 'with 18 documents the interval is too narrow' err &&
        [ "$(value 'warnings[0]')" != "" ]
}
check "documents that one side has not are left out, counted and warned of" missing
models() {
    cp s.db d.db && sql d.db "UPDATE cell SET model = 'another', status = 'unfinished' WHERE id = '$b'" &&
        gives 0 "$seqtopk" compare d.db "$a" "$b" && grep -q 'warning: the models differ: A is tiny-olmoe, B is another' err &&
        grep -q 'warning: B, cell .*, is unfinished' err
}
check "other models and unfinished cells are warned of" models
tokenizers() {
    cp s.db z.db && sql z.db "INSERT INTO tokenizer (hash) VALUES ('another'); UPDATE cell SET tokenizer = (SELECT max(n) FROM tokenizer) WHERE id = '$b'" &&
        gives 0 "$seqtopk" compare z.db "$a" "$b" --metric nll && grep -q 'warning: the tokenizers differ' err &&
        gives 0 "$seqtopk" compare z.db "$a" "$b" && [ ! -s err ]
}
check "losses by other tokens are warned of, scores are not" tokenizers
texts() {
    cp s.db t.db && sql t.db "UPDATE token SET id = id + 1 WHERE doc IN (5, 7) AND pos = 0 AND cell = (SELECT n FROM cell WHERE id = '$b')" &&
        gives 0 "$seqtopk" compare t.db "$a" "$b" && grep -q 'the tokens of 2 documents differ, the first is document 5' err
}
check "other texts under the same name are warned of" texts

# ---- refused ----

tasks() {
    cp s.db x.db && sql x.db "UPDATE cell SET task = 'gsm8k/nll' WHERE id = '$b'" &&
        fails 1 'A is of the task nll:texts.jsonl and B of gsm8k/nll' "$seqtopk" compare x.db "$a" "$b"
}
check "two tasks are refused" tasks
few() { # LEFT WORDS
    cp s.db f.db && sql f.db "DELETE FROM sample WHERE doc >= $1 AND cell = (SELECT n FROM cell WHERE id = '$b')" &&
        fails 1 "$2" "$seqtopk" compare f.db "$a" "$b"
}
check "one common document is refused" few 1 'have 1 document with a score in common; at least 2'
check "none likewise" few 0 'have 0 documents with a loss in common.*only A has 24'
check "a cell and itself are refused" fails 1 "both the cell" "$seqtopk" compare s.db "$a" "$topk"
check "a metric that is none is refused" fails 1 "a score, an nll and experts" "$seqtopk" compare s.db "$a" "$b" --metric ppl
check "no scores, and asked for" fails 1 "both sides have no scores" "$seqtopk" compare a.db "$a" "$b" --metric score
check "a cell that is not there is named" fails 1 "begins with 'ffffffffff'" "$seqtopk" compare a.db "$a" ffffffffff
check "a condition that is none is named" fails 1 "no such column: kk" "$seqtopk" compare a.db "$a" "kk = 8"
check "one side alone is wrong usage" fails 2 "compare needs" "$seqtopk" compare a.db "$a"
plan
