#!/bin/sh
# status: how far a sweep is and how long the rest takes, while it runs and after it was stopped, in one
# database and in several. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
export LC_ALL=C
model=$root/results/models/tiny-olmoe-2k
export SEQTOPK_TRAINED="$PWD/trained"
i=0
while [ $i -lt 40 ]; do
    i=$((i + 1))
    echo "{\"text\": \"Question: What is $i + 3? The answer is $((i + 3)), since one counts on from $i.\"}"
done >texts.jsonl
i=0
while [ $i -lt 50 ]; do i=$((i + 1)); cat texts.jsonl; done >many.jsonl
recipe() { # K [MORE]
    printf 'return sweep { name = "s", models = "%s", K = %s, tasks = nll { file = "texts.jsonl" }, %s
        routers = { topk(), seqtopk { mode = "online" } } }\n' "$model" "$1" "${2:-}"
}
recipe '{ 4, 2 }' >s.lua
sql() { sqlite3 -cmd '.timeout 5000' -separator ' ' -bail "$1" "$2"; }
# counts DB... : cells done running failed left orphans, of the one sweep
counts() { "$seqtopk" status --tsv "$@" | awk -F '\t' 'NR == 2 { print $3, $4, $5, $6, $7, $8 }'; }
are() { # WANTED DB...
    are_want=$1
    shift
    are_got=$(counts "$@")
    [ "$are_got" = "$are_want" ] || { echo "counts of $*: $are_got, not $are_want" >>err; return 1; }
}
column() { # NUMBER DB...
    column_n=$1
    shift
    "$seqtopk" status --tsv "$@" | awk -F '\t' -v n="$column_n" 'NR == 2 { print $n }'
}

check "nothing is there" fails 1 'status: there is no database at results/\*.db; name one' "$seqtopk" status
mkdir empty
check "a folder without a database says so" fails 1 'empty: there is no database in this folder' "$seqtopk" status empty
check "what is not there is named" fails 1 'nope.db: No such file' "$seqtopk" status nope.db

finished() {
    gives 0 "$seqtopk" run s.lua --db a.db && are '4 4 0 0 0 0' a.db && gives 0 "$seqtopk" status a.db &&
        says '^a.db  *s  *4  *4  *0  *0  *0  *0  *160  *[0-9]*  *[0-9.]*  *[0-9]*  *-$' && [ "$(wc -l <out)" -eq 2 ]
}
check "of a sweep that is done nothing is left, and no time" finished
# While it is at work: cells of its model are begun, the other cells are left.
under_way() {
    recipe '{ 8, 4, 2 }' "train = { none(), sft { data = { file = 'texts.jsonl', text = 'text' }, steps = 40, batch = 4,
        lr = 1e-4, router = topk() } }," | sed 's/texts.jsonl/many.jsonl/' >m.lua
    "$seqtopk" run m.lua --db m.db --threads 1 >/dev/null 2>run.err &
    pid=$!
    n=0
    until [ "$(sqlite3 m.db 'SELECT samples > 200 FROM run' 2>/dev/null)" = 1 ]; do
        n=$((n + 1))
        [ $n -lt 600 ] && sleep 0.02 || return 1
    done
    gives 0 "$seqtopk" status m.db && says '^m.db  *s  *12  *[0-5]  *[1-6]  *0  *6  *0 .*\(about\|less than\) ' \
        '^time left of s is without models that are still to be trained for 6 of its cells' &&
        kill -STOP $pid && before=$(column 16 m.db) && sleep 0.3 && [ "$before" = "$(column 16 m.db)" ]
    under_rc=$?
    kill -KILL $pid
    wait $pid 2>/dev/null
    return $under_rc
}
check "while a run is at work its cells run, and time is left" under_way
# Nothing runs; the rate is that of the killed run.
killed() {
    [ "$(counts m.db | awk '{ print $1, $3, $4, $6, $2 + $5 }')" = '12 0 0 0 12' ] && gives 0 "$seqtopk" status m.db &&
        says ' \(about\|less than\) ' && awk -v left="$(column 17 m.db)" 'BEGIN { exit !(left > 0) }'
}
check "a run that was killed runs no more, and its rate is known" killed
# Tokens left over tokens a second, where all cells are of one kind.
arithmetic() {
    cp m.db half.db && sql half.db "UPDATE cell SET samples = 1500 WHERE status <> 'done'" && sql half.db "SELECT printf('%.0f', (SELECT sum(p.tokens * (1.0 - ifnull(c.samples, 0) * 1.0 / p.samples)) FROM plan p
        LEFT JOIN cell c USING (id)) / (tokens / (seconds - trained))) FROM run" >want
    [ -s want ] && awk -v got="$(column 17 half.db)" '{ exit !(got > $1 * 0.98 - 1 && got < $1 * 1.02 + 1) }' want
}
check "time left is tokens left over tokens a second" arithmetic
# A date says nothing of a rate.
clock() {
    before=$(column 17 m.db) && cp m.db clock.db && sql clock.db 'UPDATE run SET started = started + 1000000; UPDATE cell SET started = 0' &&
        [ -n "$before" ] && [ "$before" = "$(column 17 clock.db)" ]
}
check "a clock that jumped changes nothing" clock
trained_apart() {
    cp m.db apart.db && sql apart.db 'UPDATE run SET trained = 1000, seconds = seconds + 1000' &&
        awk -v a="$(column 17 m.db)" -v b="$(column 17 apart.db)" 'BEGIN { exit !(b < a * 1.01 + 1) }'
}
check "time in which a model was trained is no measure of scoring" trained_apart

orphans() {
    cp a.db e.db && recipe '{ 4, 8 }' >edited.lua && gives 0 "$seqtopk" run edited.lua --db e.db && are '4 4 0 0 0 2' e.db &&
        gives 0 "$seqtopk" status e.db && says '^orphans of s: 2 cells that its recipe, as it was run last, does not have; the database keeps them$' &&
        gives 0 "$seqtopk" run s.lua --db e.db && are '4 4 0 0 0 2' e.db
}
check "cells that an edited recipe has no more are orphans" orphans
failing() {
    cp a.db f.db && sql f.db "UPDATE cell SET status = 'failed', error = 'a reason' WHERE n = 1;
        UPDATE cell SET status = 'unfinished', samples = 20 WHERE n = 2; DELETE FROM cell WHERE n = 3" &&
        are '4 1 0 1 2 0' f.db && gives 0 "$seqtopk" status f.db && says '^failed: .*: a reason$'
}
check "failed cells are counted and told, and those that are not begun are left" failing

# Two halves of the sweep; each has the whole plan.
shards() {
    ids=$(sql a.db 'SELECT id FROM plan')
    { printf 'seqtopk shards 1\nsweep s\nshards 2 0 0\n'; n=0; for x in $ids; do echo "cell $((n / 3)) $x"; n=$((n + 1)); done; echo 'end 4'; } >m
    mkdir -p results/s.shards && cp m results/s.shards/ && gives 0 "$seqtopk" run s.lua --shard results/s.shards/m:0 &&
        are '4 3 0 0 1 0' results/s.shards && gives 0 "$seqtopk" status results/s.shards && says ' less than a minute$' &&
        gives 0 "$seqtopk" run s.lua --shard results/s.shards/m:1 && are '4 4 0 0 0 0' results/s.shards &&
        are '4 4 0 0 0 0' results/s.shards/shard-00.db results/s.shards/shard-01.db && are '4 1 0 0 3 0' results/s.shards/shard-01.db
}
check "shards of a sweep are one sweep in sum" shards
by_itself() {
    gives 0 "$seqtopk" status && says '^results/s.shards  *s  *4  *4 ' && cp a.db results/s.db && gives 0 "$seqtopk" status &&
        says '^results/s.db  *s  *4  *4 ' && [ "$(grep -c '^results' out)" -eq 1 ] && are '4 4 0 0 0 0' && [ "$(column 9)" = 160 ]
}
check "without a name shards stand with their database, and no cell counts twice" by_itself
# The plan of another shard is older, or newer: the newest holds.
newest() {
    cp results/s.shards/shard-00.db n0.db && cp results/s.shards/shard-01.db n1.db && sql n1.db 'UPDATE run SET started = started + 100;
        DELETE FROM plan WHERE id NOT IN (SELECT id FROM cell)' && are '1 1 0 0 0 3' n0.db n1.db &&
        sql n1.db 'UPDATE run SET started = started - 1000' && are '4 4 0 0 0 0' n0.db n1.db
}
check "of several plans the newest holds" newest

json() {
    gives 0 "$seqtopk" status m.db --json && says '"cells": 12,' '"failed": 0,' '"rate": [0-9.]*,' '"seconds_left": [0-9.]*$' &&
        gives 0 "$seqtopk" status a.db --json && says '"seconds_left": null$' '"left": 0,'
}
check "programs get the same numbers" json
old() {
    sqlite3 old.db <"$root/tests/data/store-v1.sql" >out && gives 0 "$seqtopk" status old.db --tsv && before=$(cksum <old.db) &&
        awk -F '\t' 'NR == 2 { exit !($3 > 0 && $3 == $4 + $5 + $6 + $7 && $8 == 0 && $17 == "") }' out && [ "$before" = "$(cksum <old.db)" ]
}
check "an older database has its cells, and no plan" old

training() {
    sed 's/steps = 40/steps = 4000/' m.lua >long.lua
    "$seqtopk" train long.lua --db t.db --checkpoint-seconds never >/dev/null 2>run.err &
    pid=$!
    n=0
    until [ "$(sqlite3 t.db 'SELECT count(*) > 3 FROM training_step' 2>/dev/null)" = 1 ]; do
        n=$((n + 1))
        [ $n -lt 600 ] && sleep 0.05 || return 1
    done
    gives 0 "$seqtopk" status t.db &&
        says '^training [0-9a-f]* of s, .*: step [0-9]* of 4000, [0-9]* tokens/s, about .* left$' '^t.db  *s  *0  *0 .* about '
    training_rc=$?
    kill -KILL $pid
    wait $pid 2>/dev/null
    [ $training_rc = 0 ] && gives 0 "$seqtopk" status t.db && says 'step [0-9]* of 4000; nobody is at work on it' &&
        gives 0 "$seqtopk" status t.db --json && says '"trainings": 1,' '"trained": 0,' '"all_steps": 4000,'
}
check "a training is shown with its steps, its speed and the time left" training
plan
