#!/bin/sh
# What ends a run, and what the next one makes of it: SIGKILL and SIGTERM at random moments, a full
# disk, cells that fail; files that were cut or copied. SEQTOPK_TEST_LONG=1 kills 50 times, and
# SEQTOPK_TEST_SEED=N chooses the moments. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/lib_db.sh
. "$root/tests/lib_db.sh"
export LC_ALL=C
model=$root/results/models/tiny-olmoe-2k
seed=${SEQTOPK_TEST_SEED:-$(date +%N | sed 's/^0*//')}
times=6
[ -z "${SEQTOPK_TEST_LONG:-}" ] || times=50
echo "# SEQTOPK_TEST_SEED=$seed"

i=0
while [ $i -lt 60 ]; do
    i=$((i + 1))
    echo "{\"text\": \"Question: What is $i + 3? The answer is $((i + 3)), since one counts on from $i three times.\"}"
done >texts.jsonl
recipe() { # MODELS [MORE]
    printf 'return sweep { name = "r", models = { %s }, K = { 4, 2 }, tasks = nll { file = "texts.jsonl" }, %s
        routers = { topk(), seqtopk { mode = "online" }, batchtopk { batch = 4 } } }\n' "$1" "${2:-}"
}
recipe "'$model'" >r.lua
whole() { # DB: it was run to its end, and is what an uninterrupted run writes
    is 'PRAGMA integrity_check' ok "$1" && is "SELECT count(*) || min(status) FROM v_cells" 6done "$1" &&
        views "$1" >two.txt && [ -s all.txt ] && cmp all.txt two.txt >>err 2>&1
}
starts() { # DB ARGS...: in the background, as $pid
    start_db=$1
    shift
    "$seqtopk" run r.lua --db "$start_db" --threads 1 "$@" >out 2>err &
    pid=$!
}
ends() { # CODE: of what starts() started
    wait "$pid" 2>/dev/null
    ends_got=$?
    [ $ends_got = "$1" ] || { echo "exit code $ends_got, not $1" >>err; return 1; }
}

# ---- signals at random moments ----

begun='SELECT count(*) > 0 FROM sample'
begin=$(date +%s%N)
gives 0 "$seqtopk" run r.lua --db all.db --threads 1
took=$((($(date +%s%N) - begin) / 1000000))
views all.db >all.txt
# The moments, in seconds: anywhere in a run, which may be at its start or behind its end.
moments() { # SEED
    awk -v seed="$1" -v n=$times -v ms=$took \
        'BEGIN { srand(seed); for (i = 0; i < n; i++) printf "%.3f\n", rand() * ms / 1000 }'
}
# Samples are never lost nor computed twice, however the run ends; one that ends by itself starts anew.
again_and_again() { # SIGNAL SEED MET: this many of the signals at least come while there is work
    met=0
    rm -f k.db*
    : >before.txt
    for moment in $(moments "$2"); do
        starts k.db
        # The first comes while samples are written, however fast the machine is by now.
        if [ -s before.txt ] || [ $met -gt 0 ]; then sleep "$moment"; else wait_for k.db "$begun" || return 1; fi
        kill "-$1" $pid 2>/dev/null && [ "$1" = TERM ] && kill -TERM $pid 2>/dev/null
        wait $pid 2>/dev/null
        code=$?
        [ -e k.db ] || continue
        kept k.db >after.txt && is 'PRAGMA integrity_check' ok k.db || return 1
        comm -23 before.txt after.txt | grep -q . && { echo "a row was lost or moved" >>err; return 1; }
        [ "$(comm -13 before.txt after.txt | wc -l)" -gt 0 ] && [ $code -gt 128 ] && met=$((met + 1))
        mv after.txt before.txt
        if [ $code = 0 ]; then
            whole k.db || return 1
            rm -f k.db*
            : >before.txt
        fi
    done
    [ $met -ge "$3" ] || { echo "only $met signals came while samples were written" >>err; return 1; }
    gives 0 "$seqtopk" run r.lua --db k.db && whole k.db && kept k.db >after.txt &&
        [ "$(comm -23 before.txt after.txt | wc -l)" = 0 ] && [ "$(wc -l <after.txt)" = 360 ]
}
check "SIGKILL at any moment: nothing is lost or computed twice, and the end is the same" \
    again_and_again KILL "$seed" 1
check "SIGTERM at any moment: the same" again_and_again TERM $((seed + 1)) 1

insists() { # FIRST OTHERS CODE
    rm -f a.db*
    starts a.db
    wait_for a.db "$begun" || return 1
    kill "-$1" $pid
    for other in $2; do
        sleep 0.02 # or they are one signal to the system
        kill "-$other" $pid 2>/dev/null
    done
    ends "$3" && grep -q 'interrupted, run it again to go on' err && is 'PRAGMA integrity_check' ok a.db &&
        is "SELECT count(*) FILTER (WHERE status = 'done') < 6 FROM v_cells" 1 a.db &&
        # What was begun when it stopped has its seconds.
        is "SELECT count(*) FROM cell WHERE status = 'unfinished' AND samples > 0 AND seconds = 0" 0 a.db &&
        gives 0 "$seqtopk" run r.lua --db a.db && whole a.db
}
check "more than one SIGTERM is one" insists TERM "TERM TERM" 143
check "more than one Ctrl-C is one, and the first signal says how it ends" insists INT "INT TERM" 130

# ---- the file ----

born() {
    rm -f a.db*
    starts a.db
    n=0
    until [ -e a.db ] || [ $n -gt 100000 ]; do n=$((n + 1)); done
    # Whoever looks from the first moment on finds a database.
    cp a.db first.db && sqlite3 first.db 'SELECT count(*) FROM v_cells' >looks 2>&1
    n=0
    while [ $n -lt 10 ]; do
        sqlite3 -cmd '.timeout 5000' a.db 'SELECT count(*) FROM v_cells' >>looks 2>&1 && "$seqtopk" status a.db >>looks 2>&1
        n=$((n + 1))
    done
    ends 0 && [ "$(head -n 1 looks)" = 0 ] && ! grep -i 'empty\|no such\|locked\|seqtopk:' looks >>err
}
check "a new database is whole from its first moment on" born
copied() {
    rm -f a.db*
    starts a.db
    wait_for a.db "$begun" || return 1
    kill -KILL $pid
    wait $pid 2>/dev/null
    [ -s a.db-wal ] && cp a.db alone.db && gives 0 "$seqtopk" status alone.db &&
        gives 0 "$seqtopk" run r.lua --db alone.db && whole alone.db
}
check "a copy without the log beside it is a database" copied
nothing_left() { [ -z "$(find . -name '*.new-*')" ]; }
check "no half-made file is left" nothing_left
cut() { # BYTES
    cp all.db cut.db && truncate -s "-$1" cut.db && cp cut.db was.db &&
        for command in status table run; do
            set -- cut.db
            [ $command != run ] || set -- r.lua --db cut.db
            fails 1 'cut.db: was cut short: it has [0-9]* bytes, and .* at least [0-9]*$' "$seqtopk" $command "$@" || return 1
        done && cmp cut.db was.db
}
check "a database that was cut within its last page is refused" cut 100
check "so is one that was cut by whole pages" cut 8192

# ---- a full disk ----

full_disk() {
    mount -t tmpfs -o size=700k tmpfs full || return 1
    gives 1 "$seqtopk" run r.lua --db full/x.db && grep -q '^seqtopk: full/x.db: ' err && [ "$(wc -l <err)" = 1 ] &&
        is 'PRAGMA integrity_check' ok full/x.db && kept full/x.db >before.txt && [ -s before.txt ] &&
        mount -o remount,size=64m full &&
        gives 0 "$seqtopk" run r.lua --db full/x.db && whole full/x.db && kept full/x.db >after.txt &&
        [ "$(comm -23 before.txt after.txt | wc -l)" = 0 ]
    ok=$?
    umount full
    return $ok
}
no_room() {
    mount -t tmpfs -o size=16k tmpfs full || return 1
    fails 1 'full/x.db: cannot be made: No space left' "$seqtopk" run r.lua --db full/x.db && [ -z "$(ls full)" ]
    ok=$?
    umount full
    return $ok
}
mkdir full
if mount -t tmpfs -o size=16k tmpfs full 2>/dev/null; then
    umount full
    check "a disk that was full and has room again: the next run does the rest" full_disk
    check "where there is no room for a database, none is begun" no_room
else
    skip "a disk that was full and has room again: the next run does the rest" "no right to mount a small disk here"
    skip "where there is no room for a database, none is begun" "no right to mount a small disk here"
fi

# ---- cells that fail ----

# NaN is found as the weights are read.
cp -rL "$model" nan && size=$(stat -c %s nan/model.safetensors) &&
    printf '\377\177' | dd of=nan/model.safetensors bs=1 seek=$((size - 64)) conv=notrunc 2>/dev/null
recipe "'nan', '$model'" >f.lua
fail_fast() { # ARGS...
    rm -f f.db*
    gives 1 "$seqtopk" run f.lua --db f.db --fail-fast "$@" &&
        grep -q '^r: [0-5] cells* computed, 0 in the database already, [1-6] failed; ended at the first failure, with [0-9]* cells* left$' err &&
        grep -q '^seqtopk: [1-6] of 12 cells failed; the first: nan/model.safetensors.*NaN or infinite' err &&
        [ "$(wc -l <err)" = 2 ] && is "SELECT count(*) FILTER (WHERE status = 'done') < 6 FROM v_cells" 1 f.db
}
check "--fail-fast ends a run at the first cell that fails" fail_fast
check "also one of several processes" fail_fast --jobs 2
keep_going() {
    rm -f f.db*
    recipe "'nan', '$model'" 'limit = 4,' >f.lua
    gives 1 "$seqtopk" run f.lua --db f.db --keep-going &&
        grep -q '^r: 6 cells computed, 0 in the database already, 6 failed$' err &&
        is "SELECT group_concat(n) FROM (SELECT status || count(*) || count(error) AS n FROM v_cells GROUP BY status ORDER BY 1)" \
            done60,failed66 f.db
}
check "--keep-going, which is what a run does, computes the others" keep_going
left_alone() { # ARGS...
    sql f.db "SELECT cell_id, error FROM v_cells WHERE status = 'failed'" >before.txt
    gives 1 "$seqtopk" run f.lua --db f.db "$@" &&
        grep -q '^r: 0 cells computed, 6 in the database already, 0 failed, 6 failed before$' err &&
        grep -q '^seqtopk: 6 of 12 cells failed before, and only --retry-failed tries them again; the first: .*NaN' err &&
        [ "$(wc -l <err)" = 2 ] && sql f.db "SELECT cell_id, error FROM v_cells WHERE status = 'failed'" | cmp before.txt -
}
check "a cell that failed keeps its error, and the next run leaves it alone and says so" left_alone
check "--fail-fast does not end a run for it" left_alone --fail-fast
some_more() {
    recipe "'nan', '$model'" 'limit = 4, seeds = { 0, 1 },' >f.lua && gives 1 "$seqtopk" run f.lua --db f.db --jobs 2 &&
        grep -q '^r: 6 cells computed, 6 in the database already, 6 failed, 6 failed before$' err &&
        grep -q '^seqtopk: 6 of 24 cells failed, and 6 failed before, which --retry-failed tries again; the first: .*NaN' err
}
check "what failed now and before is told apart" some_more
tried_again() { # ARGS...
    # As if what was wrong had gone: made up, since mended weights are another model's.
    sql f.db "UPDATE cell SET error = 'made up' WHERE status = 'failed'" &&
        gives 1 "$seqtopk" run f.lua --db f.db --retry-failed "$@" &&
        grep -q '^r: 0 cells computed, 12 in the database already, 12 failed$' err &&
        is "SELECT count(*) FROM v_cells WHERE status = 'failed' AND error LIKE '%NaN%'" 12 f.db
}
check "--retry-failed tries them again" tried_again
check "with several processes too" tried_again --jobs 2
check "both ways at once are refused" fails 2 '\-\-keep-going and --fail-fast exclude each other' \
    "$seqtopk" run f.lua --db x.db --keep-going --fail-fast
plan
