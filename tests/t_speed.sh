#!/bin/sh
# speed { ... }: decoding is timed: what a sweep leaves of it, whose turn it is, and what is refused.
# No test here hangs on how fast the machine is. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
model=$root/results/models/tiny-olmoe-2k
recipe() { # FIELDS
    printf 'return sweep { name = "t", models = "%s", K = 2,
        routers = { topk(), seqtopk { mode = "online" }, seqtopk { mode = "strict" } }, tasks = speed { %s } }\n' \
        "$model" "$1"
}
is() { # SQL WANTED [DB]
    is_got=$(sqlite3 -bail "${3:-a.db}" "$1")
    [ "$is_got" = "$2" ] || { echo "$1: $is_got, not $2" >>err; return 1; }
}
recipe 'prompt_tokens = 8, tokens = 12, batch = 2, repeats = 3' >t.lua
topk="(SELECT cell_id FROM v_cells WHERE router = 'topk')"

timed() {
    gives 0 "$seqtopk" run t.lua --db a.db &&
        is "SELECT count(*), min(prompt_tokens), min(output_tokens), count(stop_reason), count(nll) FROM v_samples" \
            '9|16|24|0|0' &&
        is "SELECT count(*) FROM v_samples WHERE abs(score - 24 / json_extract(extracted,
            '\$.decode_tokens_per_s.seconds')) < 1e-6 * score AND json_extract(extracted,
            '\$.prefill_tokens_per_s.seconds') > 0" 9 &&
        is "SELECT count(*) FROM v_samples WHERE json_extract(extracted, '\$.decode_tokens_per_cpu_s.seconds')
            BETWEEN 1e-6 AND 0.01 + json_extract(extracted, '\$.decode_tokens_per_s.seconds')" 9
}
check 'each repeat is a sample with its seconds' timed

medians() {
    is "SELECT count(*) FROM v_metrics AS m WHERE metric = 'decode_tokens_per_s' AND n = 3 AND stderr > 0 AND
        value = (SELECT score FROM v_samples AS s WHERE s.cell_id = m.cell_id ORDER BY score LIMIT 1 OFFSET 1)" 3
}
check 'a cell has the median of its repeats' medians

# Two texts of 20 tokens, for which there is room for 32: 4 layers, keys and values of 256 floats. The
# Expert Cache has 64 floats a token at least, TopK has none.
bytes() {
    is "SELECT DISTINCT value FROM v_metrics WHERE metric = 'kv_bytes'" "$((2 * 4 * 2 * 32 * 256 * 4)).0" &&
        is "SELECT value FROM v_metrics WHERE metric = 'cache_bytes' AND cell_id = $topk" 0.0 &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'cache_bytes' AND value >= 2 * 4 * 20 * 64 * 4
            AND value < 3 * 2 * 4 * 20 * 64 * 4" 2 &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'peak_bytes'" 0
}
check 'the bytes of the caches are those that are allocated, and a peak is not made up' bytes

budget() {
    is "SELECT value FROM v_metrics WHERE metric = 'experts' AND cell_id = $topk" 2.0 &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'experts' AND value BETWEEN 1 AND 4 AND value != 2" 2
}
check 'the experts that were used are told' budget

# Rows are added in the order in which turns were taken.
turns() {
    is "SELECT group_concat(doc || router || ifnull(mode, ''), ' ') FROM (SELECT s.doc, c.router, c.mode FROM sample AS s
        JOIN cell AS c ON c.n = s.cell ORDER BY s.rowid)" \
        "0topk 0seqtopkonline 0seqtopkstrict 1topk 1seqtopkonline 1seqtopkstrict 2topk 2seqtopkonline 2seqtopkstrict"
}
check 'the routers take turns' turns

again() {
    cp a.db b.db
    sqlite3 b.db "PRAGMA foreign_keys = 1; UPDATE cell SET status = 'unfinished' WHERE router = 'topk';
        DELETE FROM sample WHERE doc = 1 AND cell = (SELECT n FROM cell WHERE router = 'topk')"
    gives 0 "$seqtopk" run t.lua --db b.db && grep -q '1 cell computed, 2 in the database' err &&
        is "SELECT count(*) FROM v_samples" 9 b.db
}
check 'a repeat that is missing is timed again, and no other' again

fewer() {
    gives 0 "$seqtopk" run t.lua --limit 1 --db c.db && is "SELECT count(*) FROM v_samples" 3 c.db
}
check 'a limit is one of repeats' fewer

# The same cells on the same machine, with other times: ours stay.
merged() {
    gives 0 "$seqtopk" run t.lua --db e.db && cp a.db m.db &&
        is "ATTACH 'e.db' AS e; SELECT count(*) FROM main.sample AS a JOIN e.sample AS b USING (cell, doc)
            WHERE a.score != b.score" 9 m.db || return
    before=$(sqlite3 m.db 'SELECT group_concat(score) FROM v_samples')
    gives 0 "$seqtopk" merge m.db e.db && grep -q '0 cells new, 0 got more, 3 there already' err &&
        is 'SELECT group_concat(score) FROM v_samples' "$before" m.db &&
        is "SELECT count(*) FROM v_cells WHERE status = 'done'" 3 m.db
}
check 'a merge compares no times' merged

elsewhere() {
    gives 0 "$seqtopk" plan t.lua || return
    cp out here
    case $(uname -n) in
    elsewhere) skip 'another machine has cells of its own' 'it is this one' && return ;;
    esac
    unshare --uts --map-root-user sh -c 'hostname elsewhere && exec "$@"' - "$seqtopk" plan t.lua >out 2>err &&
        ! cut -d' ' -f1 here | sed 1d | grep -qFf - out
}
if unshare --uts --map-root-user hostname elsewhere 2>/dev/null; then
    check 'another machine has cells of its own' elsewhere
else
    skip 'another machine has cells of its own' 'its name cannot be changed here'
fi

# The program's revision stands in it as text: with another one it is a program of another commit.
build() {
    gives 0 "$seqtopk" plan t.lua && cp out here && gives 0 "$other" plan t.lua &&
        ! cut -d' ' -f1 here | sed 1d | grep -qFf - out || return
    sed 's/speed {.*}/nll { file = "texts.jsonl" } }/; s/"strict"/"global"/' t.lua >nll.lua
    gives 0 "$seqtopk" plan nll.lua && cp out here && gives 0 "$other" plan nll.lua && cmp out here >>err
}
printf '{"text": "One text."}\n' >texts.jsonl
revision=$("$seqtopk" --version | cut -d' ' -f3)
other=$(pwd)/seqtopk-other
if [ -n "$revision" ]; then
    LC_ALL=C sed "s/$revision/$(printf %s "$revision" | tr '0-9a-f' 'a-f0-9')/g" "$seqtopk" >"$other" && chmod +x "$other"
    check 'what another build times are cells of its own' build
else
    skip 'what another build times are cells of its own' 'the program does not know its commit'
fi

check 'several processes are refused' fails 1 'measures time, and 2 processes would slow one another' \
    "$seqtopk" run t.lua --jobs 2 --db d.db
check 'shards are refused' fails 1 'submit: task speed:.* measures time' \
    "$seqtopk" submit t.lua --tasks 2 --db d
check 'a router that looks ahead is refused' fails 1 'as task speed:.* asks' \
    sh -c "sed 's/online/global/' t.lua >x.lua; '$seqtopk' run x.lua --db d.db"
check 'more positions than the model has are refused' \
    fails 1 'prompt_tokens = 8 and tokens = 2041 are more than the 2048 positions' \
    sh -c "sed 's/tokens = 12/tokens = 2041/' t.lua >x.lua; '$seqtopk' run x.lua --db d.db"
named() {
    sed "s/repeats = 3/name = 'long'/" t.lua >x.lua && gives 0 "$seqtopk" plan x.lua && says ' speed:long ' &&
        gives 0 "$seqtopk" plan t.lua && says ' speed:random(prompt_tokens=8,tokens=12,batch=2,repeats=3) '
}
check 'the recipe may name it, and else it says what is timed' named
check 'no repeats are refused' fails 1 'speed.repeats: 0; allowed is' \
    sh -c "sed 's/repeats = 3/repeats = 0/' t.lua >x.lua; '$seqtopk' run x.lua --db d.db"
check 'nothing was begun for what was refused' [ ! -e d.db ]
plan
