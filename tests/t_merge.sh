#!/bin/sh
# merge: sweeps computed apart become the database that one run makes; what is wrong with an input, the
# disk or the place is said, and a merge that was killed is done again. SEQTOPK_TEST_LONG=1 kills 50
# times, and SEQTOPK_TEST_SEED=N chooses the moments. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/lib_db.sh
. "$root/tests/lib_db.sh"
export LC_ALL=C
model=$root/results/models/tiny-olmoe-2k
seed=${SEQTOPK_TEST_SEED:-$(date +%N | sed 's/^0*//')}
times=8
[ -z "${SEQTOPK_TEST_LONG:-}" ] || times=50
echo "# SEQTOPK_TEST_SEED=$seed"

i=0
while [ $i -lt 20 ]; do
    i=$((i + 1))
    echo "{\"text\": \"Question: What is $i + 3? The answer is $((i + 3)), since one counts on from $i three times.\"}"
done >texts.jsonl
recipe() { # K
    printf 'return sweep { name = "w", models = "%s", K = { %s }, tasks = nll { file = "texts.jsonl" },
        routers = { topk(), batchtopk { batch = 3 }, seqtopk { mode = "online" } } }\n' "$model" "$1"
}
everything() { sql "$1" .dump; } # with all numbers of rows
recipe 4 >a.lua
recipe 2 >b.lua
recipe '4, 2' >c.lua
for db in a b c; do "$seqtopk" run $db.lua --db $db.db --threads 1 >out 2>err || cat err >&2; done
views c.db >one.txt
cp c.db done.db

together() {
    gives 0 "$seqtopk" merge o.db a.db b.db && says '^w: 6 cells done, 0 unfinished, 0 failed' &&
        grep -q '^a.db: 3 cells new, 0 got more, 0 there already$' err && [ -s one.txt ] && views o.db | cmp - one.txt >>err 2>&1
}
check "two halves of a sweep become what one run makes" together
again() {
    everything o.db >before.txt && gives 0 "$seqtopk" merge o.db b.db a.db &&
        grep -q '^b.db: 0 cells new, 0 got more, 3 there already$' err && everything o.db | cmp - before.txt >>err 2>&1 &&
        gives 0 "$seqtopk" merge o.db c.db && views o.db | cmp - one.txt >>err 2>&1
}
check "merged again, in any order, it stays the same" again
goes_on() {
    gives 0 "$seqtopk" run c.lua --db o.db && grep -q '^w: 0 cells computed, 6 in the database already' err &&
        gives 0 "$seqtopk" table o.db && gives 0 "$seqtopk" status o.db
}
check "a run finds the cells there" goes_on
left() {
    gives 0 "$seqtopk" run c.lua --db part.db && sql part.db "PRAGMA foreign_keys = ON; DELETE FROM cell WHERE k = 4" &&
        gives 0 "$seqtopk" merge p.db part.db && says '^w: 3 cells done, 0 unfinished, 0 failed; 3 of 6 planned are left$'
}
check "what the plan has beyond is told" left
read_only() {
    mkdir -p ro && cp a.db ro/ && chmod a-w ro/a.db ro && sum=$(cksum <ro/a.db) || return 1
    gives 0 "$seqtopk" merge r.db ro/a.db && [ "$(ls ro)" = a.db ] && [ "$sum" = "$(cksum <ro/a.db)" ] && [ "$(sql r.db 'SELECT count(*) FROM cell')" = 3 ]
}
check "an input may be in a folder that cannot be written" read_only

part() { # NAME DOCUMENTS: a.db as if it had been stopped, with these alone
    cp a.db "$1" && sql "$1" "DELETE FROM sample WHERE doc NOT IN ($2); DELETE FROM token WHERE doc NOT IN ($2);
        DELETE FROM metric; DELETE FROM entropy_bin; DELETE FROM histogram; DELETE FROM token_experts;
        DELETE FROM position_bin; DELETE FROM token_kind;
        UPDATE cell SET status = 'unfinished', samples = (SELECT count(*) FROM sample WHERE cell = n)"
}
parts() {
    # The third takes the second's place, and the first, which was united with it, is put to it anew.
    part p1.db 0,1,2 && part p2.db 3,4,5 && part p3.db 3,4,5,6,7,8,9,10,11 && gives 0 "$seqtopk" merge h.db p1.db p2.db p3.db &&
        [ "$(sql h.db "SELECT DISTINCT docs FROM (SELECT group_concat(doc) AS docs FROM (SELECT * FROM sample ORDER BY cell, doc)
            GROUP BY cell)")" = 0,1,2,3,4,5,6,7,8,9,10,11 ] && says '^w: 0 cells done, 3 unfinished, 0 failed' &&
        everything h.db >before.txt && gives 0 "$seqtopk" merge h.db p1.db p2.db p3.db && everything h.db | cmp - before.txt >>err 2>&1 &&
        gives 0 "$seqtopk" run a.lua --db h.db && [ "$(sql h.db "SELECT count(*) FROM sample")" = 60 ]
}
check "parts of cells are put together as far as they go, and a run does the rest" parts

# ---- what is wrong ----

no_file() { [ ! -e n.db ] && [ -z "$(find . -name 'n.db*' -o -name '*.new-*')" ]; }
refused() { fails "$@" && no_file; }
check "no inputs" refused 2 'merge needs more operands' "$seqtopk" merge n.db
check "an input that is not there" refused 1 'nowhere.db: No such file' "$seqtopk" merge n.db nowhere.db
mkdir folder
check "a folder" refused 1 'folder is a folder without a manifest of shards' "$seqtopk" merge n.db folder
check "a new database where there is no folder for it" fails 1 'none/n.db: cannot be made' "$seqtopk" merge none/n.db a.db
check "an output that is a folder" fails 1 'folder: is a folder, not a database' "$seqtopk" merge folder a.db
echo text >text.db
check "a text" refused 1 'text.db: is not a seqtopk database' "$seqtopk" merge n.db text.db
head -c 30000 a.db >cut.db
check "a database that was cut" refused 1 'cut.db: was cut short' "$seqtopk" merge n.db cut.db
cp a.db newer.db && sql newer.db 'PRAGMA user_version = 99'
check "one of a newer version" refused 1 'newer.db: was written by a newer seqtopk' "$seqtopk" merge n.db newer.db
cp a.db foreign.db && sql foreign.db 'CREATE TRIGGER t AFTER INSERT ON cell BEGIN DELETE FROM cell; END'
check "one with a stranger's trigger" refused 1 'foreign.db: has a trigger t, which is not in schema version' "$seqtopk" merge n.db foreign.db
cp a.db odd.db && sql odd.db "UPDATE token SET by_layer = '1' WHERE pos = 3"
check "one whose rows nobody wrote" refused 1 'odd.db: its table token has, .* no seqtopk wrote that' "$seqtopk" merge n.db odd.db
check "the output among the inputs" fails 1 './o.db is the database that is merged into, and cannot be an input' "$seqtopk" merge o.db a.db ./o.db
ln -s a.db link.db
check "an input twice" refused 1 'a.db and link.db are the same file; name it once' "$seqtopk" merge n.db a.db link.db
cell=$(sql a.db "SELECT cell_id FROM v_cells WHERE router = 'topk'")
differs() {
    cp a.db other.db && sql other.db "UPDATE sample SET nll = nll + 0.25 WHERE doc = 4 AND cell = (SELECT n FROM cell WHERE id = '$cell')" || return 1
    gives 1 "$seqtopk" merge d.db a.db other.db b.db && [ "$(grep -c '^seqtopk: ' err)" = 1 ] &&
        grep -q "^seqtopk: cell $cell, document 4: nll [0-9.]* in d.db, [0-9.]* in other.db\$" err &&
        says '^w: 6 cells done' && views d.db | cmp - one.txt >>err 2>&1
}
check "other numbers are named with both files, and the other inputs are merged" differs
locked() {
    cp a.db busy.db && flock busy.db sleep 3 &
    sleep 0.5
    fails 1 'busy.db: another run is at work on it' "$seqtopk" merge busy.db b.db
    ok=$?
    wait
    return $ok
}
check "a run at work on the output is told" locked
full_disk() {
    mount -t tmpfs -o size=180k tmpfs full || return 1
    gives 1 "$seqtopk" merge full/x.db a.db b.db && grep -q '^seqtopk: full/x.db: ' err && [ "$(grep -c '^seqtopk:' err)" = 1 ] &&
        [ "$(sql full/x.db 'PRAGMA integrity_check')" = ok ] && mount -o remount,size=64m full &&
        gives 0 "$seqtopk" merge full/x.db a.db b.db && views full/x.db | cmp - one.txt >>err 2>&1
    ok=$?
    umount full
    return $ok
}
mkdir full
if mount -t tmpfs -o size=16k tmpfs full 2>/dev/null; then
    umount full
    check "a disk that was full and has room again: the next merge does the rest" full_disk
else
    skip "a disk that was full and has room again: the next merge does the rest" "no right to mount a small disk here"
fi

# ---- killed ----

# Inputs that take a while: many cells under other names.
cp a.db big.db && sql big.db "PRAGMA foreign_keys = OFF;
    CREATE TEMP TABLE i AS WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 60) SELECT i FROM i;
    INSERT INTO cell SELECT n + 1000 * i, id || i, sweep, model, router, mode, k, min, max, params, train, task, seed, device, dtype,
        layers, experts, tokenizer, status, error, started, seconds, samples, tokens, note FROM main.cell, i WHERE n < 1000;
    INSERT INTO sample SELECT cell + 1000 * i, doc, prompt_tokens, output_tokens, stop_reason, nll, nll_tokens, output, extracted,
        score, error FROM main.sample, i WHERE cell < 1000;
    INSERT INTO token SELECT cell + 1000 * i, doc, pos, id, nll, entropy, experts, by_layer FROM main.token, i WHERE cell < 1000;
    INSERT INTO expert_load SELECT cell + 1000 * i, layer, expert, tokens, weight FROM main.expert_load, i WHERE cell < 1000"
begin=$(date +%s%N)
"$seqtopk" merge all.db big.db b.db >out 2>err || cat err >&2
took=$((($(date +%s%N) - begin) / 1000000))
everything all.db | grep -v '^PRAGMA' | sort >all.txt
moments() { # in seconds
    awk -v seed="$seed" -v n=$times -v ms=$took 'BEGIN { srand(seed); for (i = 0; i < n; i++) printf "%.3f\n", rand() * ms / 1000 }'
}
killed() {
    met=0
    for moment in $(moments); do
        "$seqtopk" merge k.db big.db b.db >out 2>err &
        pid=$!
        sleep "$moment"
        kill -KILL $pid 2>/dev/null
        wait $pid 2>/dev/null
        code=$?
        [ -e k.db ] || continue
        [ "$(sql k.db 'PRAGMA integrity_check')" = ok ] || return 1
        # A cell is there with all of it or not at all.
        [ "$(sql k.db "SELECT count(*) FROM cell AS c WHERE samples <> (SELECT count(*) FROM sample AS s WHERE s.cell = c.n)
            OR tokens <> (SELECT count(*) FROM token AS t WHERE t.cell = c.n)")" = 0 ] || return 1
        cells=$(sql k.db 'SELECT count(*) FROM cell')
        [ $code -gt 128 ] && [ "$cells" -gt 0 ] && [ "$cells" -lt 186 ] && met=$((met + 1))
        [ $code != 0 ] || rm -f k.db*
    done
    echo "# $met of $times kills came between two cells"
    gives 0 "$seqtopk" merge k.db big.db b.db && everything k.db | grep -v '^PRAGMA' | sort | cmp - all.txt >>err 2>&1 && [ "$cells" -gt 0 ]
}
check "killed at any moment and run again, the end is the same" killed
interrupted() {
    rm -f i.db*
    "$seqtopk" merge i.db big.db b.db >out 2>err &
    pid=$!
    n=0
    until [ "$(sqlite3 i.db 'SELECT count(*) > 2 FROM cell' 2>/dev/null)" = 1 ] || [ $n -gt 300 ]; do n=$((n + 1)); sleep 0.01; done
    kill -TERM $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ "$(sql i.db 'PRAGMA integrity_check')" = ok ] && gives 0 "$seqtopk" merge i.db big.db b.db &&
        everything i.db | grep -v '^PRAGMA' | sort | cmp - all.txt >>err 2>&1
}
check "the same with SIGTERM" interrupted
plan
