#!/bin/sh
# continue { ... }: long texts that are written on: what a sweep leaves of them, and what is refused.
# TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
model=$root/results/models/tiny-olmoe-2k
# The demo's texts of a kilobyte and more, some of which are shorter than what is asked for below.
grep -E '.{700}' "$root/recipes/texts.jsonl" | head -n 3 >texts.jsonl
recipe() { # FIELDS [MORE]
    printf 'return sweep { name = "t", models = "%s", K = 2, %s
        routers = { topk(), seqtopk { mode = "online" } }, tasks = continue { file = "texts.jsonl", %s } }\n' \
        "$model" "${2:-}" "$1"
}
sql() { sqlite3 -bail a.db "$1"; }
is() { # SQL WANTED
    is_got=$(sql "$1")
    [ "$is_got" = "$2" ] || { echo "$1: $is_got, not $2" >>err; return 1; }
}
plain='prompt_tokens = 40, max_tokens = 60'
recipe "$plain" >t.lua
recipe "$plain, temperature = 2, stop_at_end = true" 'seeds = { 1, 2, 3, 4, 5, 6 },' >end.lua
recipe "$plain, temperature = 2" 'seeds = { 1, 2, 3, 4, 5, 6 },' >on.lua

written() {
    gives 0 "$seqtopk" run t.lua --db a.db &&
        is "SELECT DISTINCT task FROM v_cells" 'continue:texts.jsonl(prompt_tokens=40,max_tokens=60)' &&
        is "SELECT count(*), min(prompt_tokens), max(prompt_tokens), min(output_tokens), min(nll_tokens),
            group_concat(DISTINCT stop_reason) FROM v_samples" '6|40|40|60|60|length'
}
check 'the first tokens of each text are written on, by as many as was said' written

# Token 40 on is what was written: its losses make the sample's, and its runs the measures.
measured() {
    is "SELECT count(*) FROM v_samples AS s WHERE abs(nll - (SELECT sum(t.nll) FROM v_tokens AS t
        WHERE t.cell_id = s.cell_id AND t.doc = s.doc AND t.pos >= 40)) < 1e-4" 6 &&
        is "WITH g AS (SELECT cell_id, doc, pos, token_id || ' ' || lead(token_id) OVER w AS pair
            FROM v_tokens WHERE pos >= 40 WINDOW w AS (PARTITION BY cell_id, doc ORDER BY pos))
            SELECT count(*) FROM v_samples AS s WHERE abs(json_extract(extracted, '\$.distinct_2.score') -
            (SELECT count(DISTINCT pair) / 59.0 FROM g WHERE g.cell_id = s.cell_id AND g.doc = s.doc)) < 1e-9" 6 &&
        is "SELECT count(*) FROM v_samples WHERE score = json_extract(extracted, '\$.chrf.score')
            AND score > 0 AND score < 1" 6 &&
        is "SELECT count(*) FROM v_metrics WHERE metric IN ('score', 'chrf', 'repetition', 'distinct_1',
            'distinct_2', 'nll', 'truncated')" 14
}
check 'what was written has its loss, its repetitions, and its likeness to the text' measured

positions() {
    is "SELECT sum(scored), sum(tokens), min(pos_lo) FROM v_position_bins WHERE scored > 0" '360|408|32' ||
        return
    is "SELECT sum(scored) FROM v_position_bins WHERE pos_hi <= 32" 0
}
check 'by position there are losses behind the prompt alone' positions

own() {
    gives 0 "$seqtopk" run t.lua --db a.db && grep -q '0 cells computed, 2 in the database' err
}
check 'what is there is not written again' own

ends() {
    gives 0 "$seqtopk" run end.lua --db a.db && gives 0 "$seqtopk" run on.lua --db a.db &&
        is "SELECT count(*) > 0 FROM v_samples JOIN v_cells USING (cell_id)
            WHERE task LIKE '%,stop_at_end)' AND stop_reason = 'eos' AND output_tokens < 60" 1 &&
        is "SELECT count(*), min(output_tokens) FROM v_samples JOIN v_cells USING (cell_id)
            WHERE task LIKE '%,temperature=2)'" '36|60'
}
check 'an end token ends a text where that is said, and else is a token like others' ends

check 'a text that is too short is refused by its line' \
    fails 1 'texts.jsonl:[0-9]*: [0-9]* tokens are fewer than prompt_tokens = 40 and max_tokens = 1500; min_bytes' \
    sh -c "sed 's/max_tokens = 60/max_tokens = 1500/' t.lua >x.lua; '$seqtopk' run x.lua --db b.db"
check 'more positions than the model has are refused' \
    fails 1 'prompt_tokens = 40 and max_tokens = 2009 are more than the 2048 positions' \
    sh -c "sed 's/max_tokens = 60/max_tokens = 2009/' t.lua >x.lua; '$seqtopk' run x.lua --db b.db"
check 'a share of the likeliest needs a temperature' \
    fails 1 'x.lua:[0-9]*: continue.top_p: 0.5, but at temperature 0' \
    sh -c "sed 's/max_tokens = 60/max_tokens = 60, top_p = 0.5/' t.lua >x.lua; '$seqtopk' plan x.lua"
named() {
    sed "s/prompt_tokens/name = 'on', prompt_tokens/" t.lua >x.lua && gives 0 "$seqtopk" plan x.lua &&
        says ' continue:on '
}
check 'the recipe may name it' named
# Their tables would not tell them apart.
apart() {
    sed 's/"text":/"body":/' texts.jsonl | paste -d '\n' texts.jsonl - | sed 'N; s/}\n{/, /' >both.jsonl
    sed 's/tasks = \(.*\)texts\(.*\)60 }/tasks = { \1both\260 }, \1both\260, limit = 2 }, \1both\260, field = "body" } }/' \
        t.lua >x.lua && gives 0 "$seqtopk" plan x.lua && says 'max_tokens=60) ' && says 'max_tokens=60,limit=2) ' &&
        says 'max_tokens=60,field=body) '
}
check 'texts of other fields, or fewer, are called so' apart
check 'how much is written must be said' fails 1 "continue: 'max_tokens' is missing" \
    sh -c "sed 's/, max_tokens = 60//' t.lua >x.lua; '$seqtopk' plan x.lua"
check 'a router that looks ahead is refused' fails 1 'as task continue:texts.jsonl.* asks' \
    sh -c "sed 's/online/global/' t.lua >x.lua; '$seqtopk' plan x.lua"
check 'nothing was begun for what was refused' [ ! -e b.db ]
plan
