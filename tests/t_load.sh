#!/bin/sh
# Many processes: 8 write shards' databases, 2 read them all the while, and at the end they are merged: no
# error, no row lost. SEQTOPK_TEST_LONG=1 does so for a minute. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
export LC_ALL=C
model=$root/results/models/tiny-olmoe-2k
seconds=6 piece=0
[ -z "${SEQTOPK_TEST_LONG:-}" ] || seconds=60 piece=8

# More than can be read in that time: the runs are told to stop, and go on.
awk 'BEGIN { for (i = 1; i <= 3000; i++) printf "{\"text\": \"What is %d + 3? It is %d.\"}\n", i, i + 3 }' >texts.jsonl
printf 'return sweep { name = "w", models = "%s", K = { 8, 6, 4, 2 }, tasks = nll { file = "texts.jsonl" },
    routers = { topk(), seqtopk { mode = "online" }, seqtopk { mode = "strict" }, batchtopk { batch = 4 } } }\n' "$model" >w.lua
mkdir bin && printf '#!/bin/sh\necho 7\n' >bin/sbatch && chmod +x bin/sbatch
PATH="$PWD/bin:$PATH" "$seqtopk" submit w.lua --tasks 8 --db r >out 2>err || cat err >&2
manifest=$(echo r/w.shards/manifest-*)

samples() { # SHARD: how many it has
    if [ -e "r/w.shards/shard-0$1.db" ]; then
        sqlite3 -cmd '.timeout 5000' "r/w.shards/shard-0$1.db" 'SELECT count(*) FROM sample'
    else
        echo 0
    fi
}
# Runs a shard again and again until the file `stop` is there; each run is ended a while after its first
# sample.
writer() { # SHARD
    while [ ! -e stop ]; do
        before=$(samples "$1" 2>>wrong)
        "$seqtopk" run w.lua --shard "$manifest:$1" --threads 1 --batch 4 >"run-$1.out" 2>"run-$1.err" &
        run=$!
        n=0
        until [ "$(samples "$1" 2>>wrong)" -gt "$before" ] || [ $n -gt 300 ]; do
            n=$((n + 1))
            sleep 0.2
        done
        sleep "$piece.$1"
        kill -TERM $run 2>/dev/null
        wait $run 2>/dev/null
        code=$?
        case $code in 0 | 143) ;; *) echo "shard $1 ended with $code: $(cat "run-$1.err")" >>wrong ;; esac
        [ $code != 0 ] || break
    done
    samples "$1" >"wrote-$1"
}
# By SQLite's own program and by ours; a number of samples never falls.
reader() { # NUMBER
    looks=0
    while [ ! -e stop ]; do
        for db in r/w.shards/shard-*.db; do
            [ -e "$db" ] || continue
            n=$(sqlite3 -cmd '.timeout 5000' "$db" "SELECT count(*) FROM v_samples" 2>>wrong) || echo "$db: sqlite3 failed" >>wrong
            was=$(cat "seen-$1-$(basename "$db")" 2>/dev/null || echo 0)
            [ "${n:-0}" -ge "$was" ] || echo "$db: $n samples, and $was before" >>wrong
            echo "${n:-0}" >"seen-$1-$(basename "$db")"
            "$seqtopk" status "$db" >"status-$1" 2>>wrong || echo "$db: status failed" >>wrong
            looks=$((looks + 1))
        done
    done
    echo "$looks" >"looks-$1"
}
load() {
    : >wrong
    pids=
    for i in 0 1 2 3 4 5 6 7; do
        writer $i &
        pids="$pids $!"
    done
    for i in 1 2; do
        reader $i &
        pids="$pids $!"
    done
    sleep $seconds
    touch stop
    # shellcheck disable=SC2086 # each is a process
    wait $pids
    cat wrong >>err
    for i in 0 1 2 3 4 5 6 7; do [ "$(cat wrote-$i)" -gt 0 ] || return 1; done
    [ ! -s wrong ] && [ "$(cat looks-1)" -gt 8 ] && [ "$(cat looks-2)" -gt 8 ] && [ "$(find r/w.shards -name 'shard-*.db' | wc -l)" = 8 ]
}
: >err
check "8 processes that write and 2 that read meet no error, and nobody sees a sample go" load
[ ! -e looks-1 ] || echo "# $(cat looks-1) and $(cat looks-2) looks in $seconds s"

rows() { # TABLE DB...: how many
    rows_table=$1
    rows_sum=0
    shift
    for rows_db; do rows_sum=$((rows_sum + $(sqlite3 "$rows_db" "SELECT count(*) FROM $rows_table"))); done
    echo $rows_sum
}
nothing_lost() {
    for db in r/w.shards/shard-*.db; do
        [ "$(sqlite3 "$db" 'PRAGMA integrity_check')" = ok ] || return 1
        # A sample is there with all of its tokens, and is counted.
        [ "$(sqlite3 "$db" "SELECT count(*) FROM cell AS c WHERE samples <> (SELECT count(*) FROM sample AS s WHERE s.cell = c.n)
            OR tokens <> (SELECT count(*) FROM token AS t WHERE t.cell = c.n)")" = 0 ] || return 1
    done
    gives 0 "$seqtopk" merge all.db r/w.shards || return 1
    for table in sample token expert_load; do
        n=$(rows $table all.db)
        echo "# $n rows of $table"
        [ "$n" -gt 0 ] && [ "$n" = "$(rows $table r/w.shards/shard-*.db)" ] || return 1
    done
}
check "merged, every row is there once" nothing_lost
plan
