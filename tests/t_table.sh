#!/bin/sh
# table, end to end, on made-up cells: CSV and LaTeX, differences to a reference against `compare` and
# numbers worked out by hand, the wide form, and what is refused. Needs no model. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/lib_db.sh
. "$root/tests/lib_db.sh"
maker=$(dirname "$seqtopk")/test_summary

"$maker" a.db 1 24 >out 2>err || { cat err; echo "Bail out! no database"; exit 1; }
# Losses that differ between routers: the made-up ones are all alike.
sql a.db "UPDATE sample SET nll = nll * (1 + 0.002 * ((cell * 7 + doc * 13) % 11 - 5 + cell % 3 * doc))"
topk=$(sql a.db "SELECT cell_id FROM v_cells WHERE router = 'topk' AND k = 8")
online=$(sql a.db "SELECT cell_id FROM v_cells WHERE mode = 'online' AND max = 10 AND k = 8")
[ "${#topk} ${#online}" = "32 32" ] || { echo "Bail out! no cells"; exit 1; }

# read_csv FILE: what Python's csv reads in it, as TSV.
read_csv() {
    python3 -c 'import csv, sys
for r in csv.reader(open(sys.argv[1], newline=""), strict=True):
    print("\t".join(f.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") for f in r))' "$1"
}
# field CONDITION COLUMN: of the rows of out, which is JSON.
field() {
    sqlite3 :memory: "SELECT json_extract(value, '$.$2') FROM json_each(CAST(readfile('out') AS TEXT)) WHERE $1"
}
of() { echo "json_extract(value, '\$.$1')"; }
near() { # GOT WANTED EPS
    [ "$(sqlite3 :memory: "SELECT abs(($1) - ($2)) <= $3")" = 1 ] && return
    echo "$1 is not $2" >>err
    return 1
}
at() { echo "$(of router) = 'seqtopk online [1, 10]' AND $(of k) = 8"; }

# ---- forms ----

csv() {
    cp a.db c.db && sql c.db "UPDATE cell SET model = 'a,b \"c\"' || char(13, 10) || 'd	e\\' WHERE k = 8" &&
        gives 0 "$seqtopk" table c.db --csv && [ ! -s err ] && mv out c.csv && read_csv c.csv >c.tsv &&
        gives 0 "$seqtopk" table c.db --tsv && cmp out c.tsv >>err && [ "$(tr -d '\n' <c.csv | tr '\r' '\n' | grep -c .)" -ge 19 ] &&
        [ "$(head -n 1 c.csv | tail -c 2 | od -An -tx1)" = ' 0d 0a' ]
}
check "CSV has CRLF, quotes what must be quoted, and says what TSV says" csv
latex_db() {
    cp a.db l.db && sql l.db "UPDATE cell SET model = 'a_b%c&d#e\$f{g}h~i^j\\k<l>m|n\"o--p' WHERE k = 8; UPDATE cell SET model = '[x]' WHERE k = 4; UPDATE cell SET task = 'gsm8k/nll' WHERE k = 2"
}
# shellcheck disable=SC2016
latex() {
    latex_db && gives 0 "$seqtopk" table l.db --latex && [ ! -s err ] && head -n 1 out | grep -q '^\\begin{tabular}{llrlr*}$' &&
        [ "$(tail -n 1 out)" = '\end{tabular}' ] && cp out plain.tex &&
        says '^a\\_b\\%c\\&d\\#e\\\$f\\{g\\}h\\textasciitilde{}i\\textasciicircum{}j\\textbackslash{}k\\textless{}l\\textgreater{}m\\textbar{}n'"''"'o-{}-p & ' \
            '^{\[}x\] & ' ' \$[0-9.]* \\pm [0-9.]*\$ ' ' \$-*[0-9.]*\\;\[-*[0-9.]*, -*[0-9.]*\]\$ ' &&
        # Two digits of the error, and as many of the value.
        ! grep -q ' \\pm [0-9.]*[1-9][0-9][0-9]\$' out
}
check "LaTeX: every character that acts is escaped, numbers stand in math" latex
spans() {
    latex_db && sql l.db "UPDATE cell SET model = 'one', task = CASE k WHEN 2 THEN 'gsm8k/nll' WHEN 4 THEN 'gsm8k/x_y' ELSE 'law/esft' END, k = 2" &&
        gives 0 "$seqtopk" table l.db --by task --latex --where "router = 'topk'" && [ ! -s err ] && cp out wide.tex &&
        says '^ & \\multicolumn{1}{c}{law} & \\multicolumn{2}{c}{gsm8k} \\\\$\|^ & \\multicolumn{2}{c}{gsm8k} & \\multicolumn{1}{c}{law} \\\\$' '^\\cmidrule(lr)' '^router & .*x\\_y, nll.* \\\\$'
}
check "LaTeX: protocols stand under their task" spans
typeset() {
    { printf '%s\n' '\documentclass{article}\usepackage{booktabs,textcomp}\begin{document}' && cat plain.tex && echo && cat wide.tex && printf '%s\n' '\end{document}'; } >t.tex &&
        gives 0 pdflatex -halt-on-error -interaction=nonstopmode t.tex
}
if command -v pdflatex >/dev/null; then
    check "LaTeX typesets it" typeset
else
    skip "LaTeX typesets it" "no pdflatex"
fi
check "one form at a time" fails 2 "only one of" "$seqtopk" table a.db --csv --latex

# ---- against ----

as_compare() {
    gives 0 "$seqtopk" compare a.db "$online" "$topk" --json && cp out compared && gives 0 "$seqtopk" table a.db --against topk --json && [ ! -s err ] || return 1
    for pair in value:a.value reference:b.value difference:difference.value stderr:difference.stderr low:difference.low high:difference.high p:difference.p documents:documents; do
        near "$(field "$(at)" "${pair%%:*}")" "$(sqlite3 :memory: "SELECT json_extract(CAST(readfile('compared') AS TEXT), '$.${pair#*:}')")" 1e-8 || return 1
    done
    [ "$(field "$(at)" test)" = t ] && [ "$(field "$(at)" against)" = topk ] && [ -z "$(field "$(of router) = 'topk'" k)" ]
}
check "difference, error, interval and p are those of compare" as_compare
holm() {
    # The smallest p times the number of tests, and none below its own p.
    gives 0 "$seqtopk" table a.db --against topk --json && n=$(field 1 p | grep -c .) && [ "$n" -gt 2 ] &&
        near "$(sqlite3 :memory: "SELECT $(of p_holm) FROM json_each(CAST(readfile('out') AS TEXT)) ORDER BY $(of p) LIMIT 1")" \
            "min(1, $n * $(sqlite3 :memory: "SELECT min($(of p)) FROM json_each(CAST(readfile('out') AS TEXT))"))" 1e-7 &&
        [ -z "$(field "$(of p_holm) < $(of p)" p)" ]
}
check "p is corrected over the table" holm
reading() {
    gives 0 "$seqtopk" table a.db --against topk --json && [ -z "$(field "($(of low) <= 0 AND $(of high) >= 0) <> ($(of not_ruled_out) IS NOT NULL)" router)" ] &&
        [ -n "$(field "$(of low) < 0 AND $(of high) > 0 AND -$(of low) > $(of high)" router)" ] &&
        [ -z "$(field "$(of not_ruled_out) <> max(-$(of low), $(of high)) OR ($(of not_ruled_out) IS NOT NULL AND $(of reading) NOT LIKE 'no difference larger than 0.%')" router)" ] &&
        cp a.db r.db && sql r.db "UPDATE sample SET nll = nll - 0.5 * nll_tokens WHERE cell = (SELECT n FROM cell WHERE id = '$online')" &&
        gives 0 "$seqtopk" table r.db --against topk --json && [ "$(field "$(at)" reading)" = better ] && [ -z "$(field "$(at)" not_ruled_out)" ]
}
check "an interval that holds 0 says what it does not rule out" reading
scores() {
    # A: 0..15 and 20 right, B: 8..23: only the reference 8, only online 7.
    cp a.db s.db && sql s.db "UPDATE sample SET score = doc < 16 OR doc = 20 WHERE cell = (SELECT n FROM cell WHERE id = '$topk');
        UPDATE sample SET score = doc >= 8 WHERE cell = (SELECT n FROM cell WHERE id = '$online')" &&
        gives 0 "$seqtopk" table s.db --against topk --where "cell_id = '$online'" --json && [ "$(field "$(at)" test)" = mcnemar ] && near "$(field "$(at)" p)" 1 1e-12 &&
        near "$(field "$(at)" difference)" '-1.0/24' 1e-8 && [ "$(field "$(at)" metric)" = score ] &&
        sql s.db "UPDATE sample SET score = 0.5 WHERE score = 1 AND doc = 9" && gives 0 "$seqtopk" table s.db --against topk --where "cell_id = '$online'" --json && [ "$(field "$(at)" test)" = t ]
}
check "scores that are right or wrong have McNemar's test, others Student's" scores
experts() {
    gives 0 "$seqtopk" table a.db --against topk --metric experts --metric nll --json || return 1
    x="$(at) AND $(of metric) = 'experts'"
    near "$(field "$x" value)" "$(sql a.db "SELECT value FROM v_metrics WHERE cell_id = '$online' AND metric = 'experts'")" 1e-5 &&
        near "$(field "$x" reference)" 8 1e-9 && [ "$(field "$(at) AND $(of metric) = 'nll'" documents)" = 24 ]
}
check "experts by document, and several metrics in one table" experts

# What a measure says of each document: A 0.01 for each document before, B a quarter more, with no word on
# the last; one that has a median alone is none.
measures() {
    cp a.db m.db && sql m.db "UPDATE sample SET extracted = json_object('repetition', json_object('score', 0.01 * doc), 'rate', json_object('score', 1, 'median', json('true')))
            WHERE cell IN (SELECT n FROM cell WHERE id IN ('$topk', '$online'));
        UPDATE sample SET extracted = json_set(extracted, '\$.repetition.score', 0.25 + 0.01 * doc) WHERE cell = (SELECT n FROM cell WHERE id = '$online');
        UPDATE sample SET extracted = '{}' WHERE doc = 23 AND cell = (SELECT n FROM cell WHERE id = '$online');
        INSERT INTO metric SELECT n, m, 0.1, NULL, 24 FROM cell, (SELECT 'repetition' AS m UNION SELECT 'rate') WHERE id IN ('$topk', '$online')" &&
        gives 0 "$seqtopk" table m.db --against topk --metric repetition --json && near "$(field "$(at)" difference)" 0.25 1e-9 && near "$(field "$(at)" reference)" 0.11 1e-9 &&
        [ "$(field "$(at)" documents)|$(field "$(at)" metric)|$(field "$(at)" reading)" = '23|repetition|higher' ] &&
        gives 0 "$seqtopk" compare m.db "$online" "$topk" --metric repetition --json && grep -q '"metric": "repetition"' out &&
        fails 2 'documents have no rate of their own' "$seqtopk" table m.db --against topk --metric rate &&
        fails 1 'metric rate: documents have a score, an nll and experts, and what their measures say' "$seqtopk" compare m.db "$online" "$topk" --metric rate &&
        sql m.db "UPDATE sample SET extracted = '{\"repetition\":{\"score\":0}}'" && gives 0 "$seqtopk" table m.db --against topk --metric repetition && says 'no difference larger than 0.0000$'
}
check "what a measure says of each document is compared" measures

# Three seeds of topk and of online at K = 8, whose losses the seed shifts by 0, 1 and 2 tenths a token on
# one side.
cp a.db k.db
for which in "$topk" "$online"; do
    for seed in 1 2; do
        sql k.db "CREATE TEMP TABLE c AS SELECT * FROM cell WHERE id = '$which';
            UPDATE c SET n = (SELECT max(n) + 1 FROM cell), id = substr('$seed' || id, 1, 32), seed = $seed;
            INSERT INTO cell SELECT * FROM c;
            CREATE TEMP TABLE p AS SELECT * FROM sample WHERE cell = (SELECT n FROM cell WHERE id = '$which');
            UPDATE p SET cell = (SELECT n FROM c), nll = nll + iif('$which' = '$online', 0.1 * $seed * nll_tokens, 0);
            INSERT INTO sample SELECT * FROM p;
            CREATE TEMP TABLE m AS SELECT * FROM metric WHERE cell = (SELECT n FROM cell WHERE id = '$which');
            UPDATE m SET cell = (SELECT n FROM c); INSERT INTO metric SELECT * FROM m"
    done
done
pair="k = 8 AND (router = 'topk' OR mode = 'online' AND max = 10)"
seeds() {
    gives 0 "$seqtopk" table a.db --against topk --where "$pair" --json && one=$(field "$(at)" difference) && se=$(field "$(at)" stderr) &&
        gives 0 "$seqtopk" table k.db --against topk --where "$pair" --json && [ ! -s err ] && [ "$(field "$(at)" seeds)" = 3 ] && [ "$(field "$(at)" documents)" = 24 ] &&
        near "$(field "$(at)" difference)" "$one + 0.1" 1e-7 && near "$(field "$(at)" stderr_by_seed)" '0.1 / sqrt(3)' 1e-7 &&
        near "$(field "$(at)" stderr_by_document)" "$se" 1e-7 && near "$(field "$(at)" stderr)" "sqrt(0.01 / 3 + $se * $se)" 1e-7 &&
        gives 0 "$seqtopk" table k.db --against topk --where "$pair" && says 'variance by document plus variance by seed'
}
check "three seeds: documents and seeds both vary" seeds
fewer() {
    gives 0 "$seqtopk" table k.db --against topk --where "$pair AND seed > 0" --json && [ "$(field "$(at)" seeds)" = 2 ] && [ -z "$(field "$(at)" stderr_by_seed)" ] &&
        cp k.db f.db && sql f.db "DELETE FROM cell WHERE id = '1' || substr('$topk', 1, 31)" &&
        gives 0 "$seqtopk" table f.db --against topk --where "$pair" --json && [ "$(field "$(at)" seeds)" = 2 ] && grep -q 'warning: .* 1 of 3 seeds left out' err
}
check "only seeds that both have count" fewer
trained() {
    cp a.db t.db && sql t.db "UPDATE cell SET train = 'sft x 9 steps lr 0.1 router topk' WHERE router = 'topk';
        UPDATE cell SET train = 'sft x 9 steps lr 0.1 router seqtopk(mode global, max K + 2)' WHERE router <> 'topk'" &&
        gives 0 "$seqtopk" table t.db --against topk --json && [ ! -s err ] && [ -n "$(field "$(at)" p)" ] &&
        sql t.db "UPDATE cell SET train = 'sft x 8 steps lr 0.1 router topk' WHERE router = 'topk' AND k = 8" &&
        gives 0 "$seqtopk" table t.db --against topk --json && [ -z "$(field "$(of k) = 8" p)" ] && grep -q 'left out for want of a reference: .*K = 8' err
}
check "trainings are the same but for their router" trained
chosen() {
    gives 0 "$seqtopk" table a.db --against "seqtopk online [1, 10]" --where "k = 8" --json && [ -n "$(field "$(of router) = 'topk'" p)" ] && [ -z "$(field "$(at)" p)" ] &&
        gives 0 "$seqtopk" table a.db --against "mode = 'online' AND max = k + 2" --json && [ "$(field "$(of router) = 'topk' AND $(of k) = 4" against)" = "seqtopk online [1, 6]" ]
}
check "a label or a condition names the reference" chosen
# Another training is the reference where a condition says so, and only then.
across() {
    cp a.db t.db && sql t.db "UPDATE cell SET train = 'annealed' WHERE mode = 'online' AND max = k + 2" &&
        gives 0 "$seqtopk" table t.db --against "train = 'none' AND mode = 'online' AND max = k + 1" --where "train = 'annealed'" --json && [ ! -s err ] &&
        [ "$(field "$(at)" against)" = "seqtopk online [1, 9]" ] && [ -n "$(field "$(at)" p)" ] &&
        ! "$seqtopk" table t.db --against "seqtopk online [1, 9]" --where "train = 'annealed'" >out 2>err &&
        grep -q 'none of the cells stands beside' err
}
check "trainings are compared where a condition chooses the reference" across
check "one that may be several says which" fails 1 "may be several cells of .* K = 8: .*seqtopk online \[1, 10\]" "$seqtopk" table a.db --against seqtopk
check "one that is none says which there are" fails 1 "'*nosuch: no finished cell has such a router; there are batchtopk; .*; seqtopk online; .*topk$" "$seqtopk" table a.db --against nosuch
check "a condition that is none is named" fails 1 "no such column: kk" "$seqtopk" table a.db --against "kk = 8"
check "a metric that documents have not" fails 2 "documents have no ppl of their own" "$seqtopk" table a.db --against topk --metric ppl
check "a metric that no cell has" fails 1 "has score" "$seqtopk" table a.db --against topk --metric score
check "nothing beside the reference" fails 1 "none of the cells stands beside" "$seqtopk" table a.db --against topk --where "router = 'topk'"
unfinished() {
    cp a.db u.db && sql u.db "UPDATE cell SET status = 'unfinished' WHERE id = '$online'" && gives 0 "$seqtopk" table u.db --against topk --json &&
        [ -z "$(field "$(at)" p)" ] && grep -q 'warning: 1 cell left out that is not done' err
}
check "cells that are not done are left out, and counted" unfinished
empty() {
    cp a.db e.db && sql e.db "DELETE FROM sample WHERE doc > 0 AND cell = (SELECT n FROM cell WHERE id = '$online')" && gives 0 "$seqtopk" table e.db --against topk --json &&
        [ -z "$(field "$(at)" p)" ] && grep -q 'warning: .*seqtopk online \[1, 10\]: not compared: the two sides have 1 document' err &&
        fails 1 "nothing could be compared: the two sides have 1" "$seqtopk" table e.db --against topk --where "cell_id = '$online'"
}
check "what cannot be compared is left out, with the reason" empty

# ---- wide ----

by_k() {
    gives 0 "$seqtopk" table a.db --against topk --json && d=$(field "$(at)" difference) && lo=$(field "$(at)" low) && hi=$(field "$(at)" high) &&
        gives 0 "$seqtopk" table a.db --against topk --by k --json && row="$(of router) = 'seqtopk online [1, K+2]'" &&
        [ "$(field "$row" '"K = 8"')" = "$d" ] && [ "$(field "$row" '"K = 8 low"')" = "$lo" ] && [ "$(field "$row" '"K = 8 high"')" = "$hi" ] && [ -n "$(field "$row" '"K = 2"')" ] &&
        gives 0 "$seqtopk" table a.db --against topk --by k && says '^router  *K = 8  *K = 4  *K = 2$' '^seqtopk online \[1, K+2\]  *-*[0-9.]* \[-*[0-9.]*, -*[0-9.]*\] ' '^documents: 24; seeds: 1; in brackets' '^seqtopk global \[0, 64\]  *-*[0-9.]* \[[^]]*\]  *-*[0-9.]* \[[^]]*\]  *-*[0-9.]* \['
}
check "differences by K: bounds that follow K stand in one row" by_k
plain() {
    gives 0 "$seqtopk" table a.db --by k --json && row="$(of router) = 'topk'" &&
        near "$(field "$row" '"K = 8"')" "$(sql a.db "SELECT value FROM v_metrics WHERE cell_id = '$topk' AND metric = 'nll'")" 1e-8 &&
        gives 0 "$seqtopk" table a.db --by task && says '± ' '^K  *router'
}
check "values by K and by task, with their errors" plain
# Numbers in names count by their value, in columns and in rows.
ordered() {
    cp a.db n.db && sql n.db "UPDATE cell SET model = 'm' || k, task = 'first_' || (1024 / k)" && gives 0 "$seqtopk" table n.db --by task --where "router = 'topk'" &&
        says '^model  K  router  first_128, nll  first_256, nll  first_512, nll$' &&
        cp a.db n.db && sql n.db "UPDATE cell SET min = 1, max = 10, params = json_set(params, '\$.min', 1, '\$.max', 10, '\$.segment', (max - k) * (max - k) * 16) WHERE mode = 'online' AND min = 1 AND max < 64" &&
        gives 0 "$seqtopk" table n.db --where "k = 8 AND mode = 'online' AND min = 1 AND max < 64" --tsv &&
        [ "$(cut -f 5 out | tr '\n' ',')" = "router,seqtopk online [1, 10] segment 16,seqtopk online [1, 10] segment 64,seqtopk online [1, 10] segment 256," ]
}
check "columns and rows stand by the numbers in their names" ordered
# One name for all references where they have one, else the condition.
named() {
    gives 0 "$seqtopk" table a.db --against "mode = 'online' AND max = k + 2" --by k && says 'difference: router less seqtopk online \[1, K+2\] on the same' &&
        gives 0 "$seqtopk" table a.db --against "mode = 'online' AND min = 1 AND max = iif(k = 8, 9, k + 2)" && says "difference: router less its reference (mode = 'online' AND min = 1 AND max = iif(k = 8, 9, k + 2)) on the same" &&
        gives 0 "$seqtopk" table a.db --against "mode = 'online' AND max = k + 2" --where "k = 8" && says 'difference: router less seqtopk online \[1, 10\] on the same'
}
check "the references of all rows are named, not the first's alone" named
pooled() {
    gives 0 "$seqtopk" table k.db --against topk --where "$pair" --json && v=$(field "$(at)" value) &&
        gives 0 "$seqtopk" table k.db --where "$pair" --by task --json && near "$(field "$(at)" '"nll:texts.jsonl"')" "$v" 1e-8
}
check "seeds stand together in one place" pooled
check "but not for what documents have not" fails 1 "several seeds can be taken together for score, nll, experts and what a measure says of each document, and not for ppl" \
    "$seqtopk" table k.db --where "$pair" --by task --metric ppl
check "a field that is none is refused" fails 2 "by task, k, model or train" "$seqtopk" table a.db --by colour
check "pass@k has its own form" fails 2 "does not go with" "$seqtopk" table a.db --pass-at 2 --by task
plan
