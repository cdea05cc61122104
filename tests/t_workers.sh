#!/bin/sh
# run --jobs and --device with several devices, end to end on the CPU: the same results as of one
# process whatever ends which of them; memory that is missing; what is refused. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/lib_db.sh
. "$root/tests/lib_db.sh"
model=$root/results/models/tiny-olmoe-2k
export SEQTOPK_EVALS="$PWD/evals" SEQTOPK_DATA="$PWD" SEQTOPK_TRAINED="$PWD/trained"
mkdir evals

cat >evals/toy.lua <<'END'
local form = function(generate)
  return { version = 1, about = "made up", prompt = "Question: {q}\nAnswer:", generate = generate,
    measures = { { "exact", name = "number", find = "#### (-?[0-9]+)", take = "first", reference = "{a}",
                   golden = { { output = "#### 5", found = "5" } } } } }
end
return { name = "toy", about = "made-up problems", license = "MIT", source = "here", file = "toy.jsonl",
  forms = { greedy = form({ max_tokens = 24, stop = { "Question:" } }),
            drawn = form({ max_tokens = 24, temperature = 0.8, top_p = 0.9 }) } }
END
for i in 1 2 3 4 5 6; do
    echo "{\"q\": \"Tom has $i apples and buys 4 more. How many has he?\", \"a\": \"$((i + 4))\"}"
done >toy.jsonl
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    echo "{\"text\": \"Question: What is $i + 3? The answer is $((i + 3)), since one counts on from $i three times.\"}"
    echo "{\"text\": \"Once upon a time there were $i houses at the edge of a wood, and nobody lived in them.\"}"
done >texts.jsonl
cat texts.jsonl texts.jsonl texts.jsonl texts.jsonl >many.jsonl

recipe() { # TASKS [MORE]
    printf 'return sweep { name = "w", models = "%s", K = { 4, 2 }, tasks = { %s }, %s
        routers = { topk(), seqtopk { mode = "online" }, seqtopk { mode = "strict", min = 0, max = N } } }\n' \
        "$model" "$1" "${2:-}"
}
recipe 'nll { file = "texts.jsonl" }, "toy/greedy", "toy/drawn"' >w.lua
recipe 'nll { file = "many.jsonl" }' >many.lua
same() { # DB DB
    views "$1" >one.txt && views "$2" >two.txt && [ -s one.txt ] && cmp one.txt two.txt >>err 2>&1
}
members() { # PID: the processes that it made
    ps -o pid= --ppid "$1" | tr -d ' '
}
none_left() { # PIDS: none is there, or only until somebody looks how it ended
    for none_pid in $1; do
        ! ps -o stat= -p "$none_pid" | grep -v Z || { echo "$none_pid is there" >>err; return 1; }
    done
}
starts() { # DB RECIPE ARGS...: in the background, as $pid
    start_db=$1 start_recipe=$2
    shift 2
    rm -f "$start_db" "$start_db-wal" "$start_db-shm"
    "$seqtopk" run "$start_recipe" --db "$start_db" "$@" >out 2>err &
    pid=$!
}
ends() { # CODE: of what starts() started
    wait "$pid" 2>/dev/null
    ends_got=$?
    [ $ends_got = "$1" ] || { echo "exit code $ends_got, not $1" >>err; return 1; }
}

# ---- the same as one ----

one_and_two() {
    gives 0 "$seqtopk" run w.lua --db one.db --jobs 1 && gives 0 "$seqtopk" run w.lua --db two.db --jobs 2 &&
        grep -q 'w: 18 cells computed, 0 in the database already, 0 failed' err && grep -qx two.db out &&
        same one.db two.db && is 'SELECT count(*) FROM process' 0 two.db
}
check "two processes write what one does, in every view" one_and_two
more_than_cells() {
    recipe '"toy/greedy"' | sed 's/K = { 4, 2 }/K = 2/; s/seqtopk { mode = "online" }, //' >few.lua &&
        gives 0 "$seqtopk" run few.lua --db few.db --jobs 5 && [ "$(wc -l <err)" = 1 ] &&
        is "SELECT count(*) || min(status) FROM v_cells" 2done few.db
}
check "more processes than cells do no harm" more_than_cells
again() {
    gives 0 "$seqtopk" run w.lua --db two.db --jobs 2 && grep -q '0 cells computed, 18 in the database already' err
}
check "what is done is not computed again" again
left_behind() {
    cp two.db left.db && sql left.db "INSERT INTO process VALUES (0, 1, 'cpu', 'nothing any more', 0)" &&
        gives 0 "$seqtopk" run w.lua --db left.db && is 'SELECT count(*) FROM process' 0 left.db
}
check "the processes of a run that was killed are not told as the next one's" left_behind
other_number() {
    cp two.db rest.db && sql rest.db "PRAGMA foreign_keys = ON; DELETE FROM cell WHERE n % 3 = 0" && gives 0 "$seqtopk" run w.lua --db rest.db --jobs 3 &&
        grep -q 'w: 6 cells computed, 12 in' err && same one.db rest.db
}
check "a run may go on with another number of processes" other_number

# ---- processes that end ----

gives 0 "$seqtopk" run many.lua --db all.db
views all.db >all.txt
whole() { # DB: it was run to its end, and is what one process writes
    is 'PRAGMA integrity_check' ok "$1" && is "SELECT count(*) || min(status) FROM v_cells" 6done "$1" &&
        views "$1" >two.txt && [ -s all.txt ] && cmp all.txt two.txt >>err 2>&1
}
# Two cells have samples: what is done to the processes from here on comes early in the run, on a fast
# machine too.
begun='SELECT count(DISTINCT cell) > 1 FROM sample'
unfinished() { # DB: a run ended before all of its cells were done, and none failed
    is "SELECT count(*) FILTER (WHERE status = 'done') < 6 AND count(*) FILTER (WHERE status = 'failed') = 0 FROM v_cells" 1 "$1"
}
one_dies() {
    starts a.db many.lua --jobs 2
    wait_for a.db "$begun" || return 1
    victim=$(members $pid | head -n 1)
    kill -KILL "$victim"
    ends 0 &&
        grep -q 'warning: process [12] of 2 (cpu) was ended by signal 9 (Killed); the others go on with its cells' err &&
        grep -q 'w: 6 cells computed' err && whole a.db
}
check "one process is killed: the other does its cells, and the run says so" one_dies
asked_to_end() {
    starts a.db many.lua --jobs 2
    wait_for a.db "$begun" || return 1
    kill -TERM "$(members $pid | tail -n 1)"
    ends 0 && grep -q 'process [12] of 2 (cpu) was asked to end; the others' err && whole a.db
}
check "one is asked to end: the same" asked_to_end
all_die() {
    starts a.db many.lua --jobs 2
    wait_for a.db "$begun" || return 1
    for victim in $(members $pid); do
        kill -KILL "$victim"
    done
    ends 1 && grep -q 'every process of the run ended before its cells were computed, and [0-9]* cells* [ias][sre]* left for the next run; the last: process [12] of 2 (cpu) was ended by signal 9' err &&
        [ "$(grep -c 'the others go on' err)" = 1 ] &&
        [ ! -s out ] && unfinished a.db &&
        gives 0 "$seqtopk" run many.lua --db a.db --jobs 2 && whole a.db
}
check "all are killed: the run says so, and the next one does the rest" all_die
first_dies() {
    starts a.db many.lua --jobs 2
    wait_for a.db "$begun" || return 1
    orphans=$(members $pid)
    # They cannot notice it by themselves.
    # shellcheck disable=SC2086 # each is a word
    kill -STOP $orphans
    kill -KILL $pid
    ends 137 && gives 0 "$seqtopk" run many.lua --db a.db --jobs 2 || return 1
    none_left "$orphans" && whole a.db
}
check "the first is killed: all end with it, and a run at once goes on" first_dies
many_kills() {
    rm -f k.db k.db-wal k.db-shm && : >before.txt
    for i in 1 2 3 4; do
        "$seqtopk" run many.lua --db k.db --jobs 2 >out 2>err &
        pid=$!
        wait_for k.db "SELECT count(*) > $(wc -l <before.txt) FROM sample" || return 1
        sleep "0.0$((i * 37 % 10))"
        # shellcheck disable=SC2046 # each is a word
        kill -KILL $pid $(members $pid) 2>/dev/null
        wait "$pid" 2>/dev/null
        kept k.db >after.txt || return 1
        comm -23 before.txt after.txt | grep -q . && { echo "a row was lost or moved" >>err; return 1; }
        mv after.txt before.txt
    done
    [ -s before.txt ] || { echo "nothing was ever written" >>err; return 1; }
    gives 0 "$seqtopk" run many.lua --db k.db --jobs 2 && whole k.db && kept k.db >after.txt &&
        [ "$(comm -23 before.txt after.txt | wc -l)" = 0 ]
}
export LC_ALL=C
check "all are killed again and again: no sample is lost, none is computed twice" many_kills
stops() { # SIGNAL CODE
    starts a.db many.lua --jobs 2
    wait_for a.db "$begun" || return 1
    orphans=$(members $pid)
    kill "-$1" $pid
    ends "$2" && grep -q 'interrupted, run it again to go on' err && [ "$(wc -l <err)" = 1 ] &&
        none_left "$orphans" &&
        unfinished a.db &&
        gives 0 "$seqtopk" run many.lua --db a.db --jobs 2 && whole a.db
}
check "Ctrl-C ends all at a sample's end, and the next run does the rest" stops INT 130
check "and so does SIGTERM" stops TERM 143
readers() {
    starts a.db many.lua --jobs 3
    # Not while it is made, nor while the last one closes it.
    wait_for a.db 'SELECT count(*) > 0 FROM sample' || return 1
    done="SELECT count(*) = 6 AND count(*) FILTER (WHERE status = 'done') = 6 FROM v_cells"
    n=0
    : >locked
    while [ "$(sqlite3 a.db "$done" 2>>locked)" = 0 ]; do
        n=$((n + 1))
        sleep 0.01
    done
    # The last one has it for itself while it closes it, when all is done.
    [ ! -s locked ] || [ "$(sqlite3 -cmd '.timeout 5000' a.db "$done")" = 1 ] || return 1
    ends 0 && [ $n -gt 5 ] && whole a.db
}
check "who reads meanwhile never finds the database locked" readers
second() {
    starts a.db many.lua --jobs 2
    wait_for a.db "$begun" || return 1
    # shellcheck disable=SC2046 # each is a word
    kill -STOP $(members $pid)
    gives 0 "$seqtopk" status a.db && says "^process 1 ([0-9]*, cpu): [0-9]* cells* of .*tiny-olmoe-2k, nll.*, for [0-9]* s" \
        "^process 2 ([0-9]*, cpu): " && fails 1 'a.db: another run is at work on it' "$seqtopk" run many.lua --db a.db --jobs 2
    ok=$?
    kill -KILL $pid
    wait "$pid" 2>/dev/null
    # What a run that was killed left of itself is not told as if it were there.
    sleep 0.2
    [ $ok = 0 ] && is 'SELECT count(*) FROM process' 2 a.db && gives 0 "$seqtopk" status a.db && ! says '^process' 2>/dev/null
}
check "status tells what each process does, and a second run is refused" second

# ---- failures ----

broken_model() {
    cp -rL "$model" nan && size=$(stat -c %s nan/model.safetensors) &&
        printf '\377\177' | dd of=nan/model.safetensors bs=1 seek=$((size - 64)) conv=notrunc 2>/dev/null &&
        sed "s|models = [^,]*,|models = { \"nan\", \"$model\" },|" few.lua >nan.lua && gives 1 "$seqtopk" run nan.lua --db nan.db --jobs 2 &&
        grep -q 'w: 2 cells computed, 0 in the database already, 2 failed' err &&
        grep -q '^seqtopk: 2 of 4 cells failed; the first: nan/model.safetensors.*NaN or infinite' err &&
        is "SELECT count(*) FROM v_cells WHERE status = 'failed' AND model = 'nan'" 2 nan.db
}
check "a model that cannot be loaded fails its cells, and the others are computed" broken_model
gone() {
    starts a.db many.lua --jobs 2
    wait_for a.db "$begun" || return 1
    rm -f a.db a.db-wal a.db-shm
    ends 1 && grep -q '^seqtopk: a.db: was removed or replaced' err && [ "$(wc -l <err)" = 1 ] && [ ! -s out ]
}
check "a database that is removed under them is noticed, and told once" gone

# ---- trained models ----

# A small one, so that states are soon written.
cat >p.lua <<'END'
return pretrain { name = "tiny", out = "tiny", model = { family = "olmoe", layers = 2, hidden = 32, heads = 2,
  experts = 8, top_k = 2, expert_ffn = 16, context = 128 }, data = { file = "texts.jsonl", text = "text" },
  batch = 8, steps = 1, lr = 1e-3, tokenizer = { vocab = 320 } }
END
gives 0 "$seqtopk" train p.lua --db p.db
trains() { # MORE
    cat <<END
return sweep { name = "w", models = "tiny", K = { 4, 2 }, tasks = nll { file = "texts.jsonl" },
  routers = { topk(), seqtopk { mode = "online" } }, limit = 6,
  train = { none(), sft { data = { file = "texts.jsonl", text = "text" }, steps = 6, batch = 4, lr = 1e-4, $1 } } }
END
}
shared_training() {
    trains 'router = topk { }' >t.lua && rm -rf trained && gives 0 "$seqtopk" run t.lua --db t1.db && mv trained trained.one &&
        gives 0 "$seqtopk" run t.lua --db t2.db --jobs 2 --checkpoint-seconds 0 && grep -q '8 cells computed.*; 2 models were trained' err &&
        same t1.db t2.db && [ "$(find trained -mindepth 1 -maxdepth 1 | wc -l)" = 2 ]
}
check "a model that several cells need is trained once, to the same numbers" shared_training
trainer_dies() {
    rm -rf trained && trains 'router = topk { }' | sed 's/steps = 6/steps = 40/' >t.lua
    starts t3.db t.lua --jobs 2 --checkpoint-seconds 0
    wait_for t3.db 'SELECT count(*) > 0 FROM training' || return 1
    n=0
    until [ -n "$(find trained -name '*.state')" ] || [ $n -gt 2000 ]; do
        n=$((n + 1))
        sleep 0.005
    done
    # Both may be training by now; the first one is left.
    victim=$(members $pid | tail -n 1)
    kill -KILL "$victim"
    ends 0 && grep -q 'was ended by signal 9' err && rm -rf trained &&
        gives 0 "$seqtopk" run t.lua --db t4.db && same t4.db t3.db
}
check "a training whose process is killed is done by another, to the same numbers" trainer_dies
# What is sent to all of them, as timeout and batch systems do, comes to each twice: from there, and from
# the first one. A step here takes a while.
all_asked() {
    sed "s/\"tiny\"/\"$(echo "$model" | sed 's|/|\\/|g')\"/; s/K = { 4, 2 }/K = 2/; s/steps = 40, batch = 4/steps = 60, batch = 48/" t.lua >slow.lua
    starts t6.db slow.lua --jobs 2
    wait_for t6.db 'SELECT count(*) > 0 FROM training_step' || return 1
    # shellcheck disable=SC2046 # each is a word
    kill -TERM $(members $pid)
    sleep 0.05
    kill -TERM $pid
    ends 143 && ! grep -q 'signal\|exit code' err && grep -q 'interrupted, run it again to go on' err && [ -n "$(find trained -name '*.state')" ]
}
check "what is asked of all of them twice does not cut a training off from its state" all_asked
no_training() {
    rm -rf trained && trains 'router = bad' | sed '1i local bad = router { name = "bad", select = function() return {} end }' >t.lua &&
        gives 1 "$seqtopk" run t.lua --db t5.db --jobs 2 && grep -q 'w: 4 cells computed, 0 in the database already, 4 failed' err &&
        is "SELECT count(*) FROM v_cells WHERE status = 'failed' AND train <> 'none' AND error <> ''" 4 t5.db
}
check "a training that fails, fails its cells and no others" no_training

# ---- memory ----

# libtorch takes memory with posix_memalign(): some sizes are not given, here those of the work on a
# batch, while those of weights are.
cat >short.c <<'END'
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
static size_t number(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 10) : 0;
}
int posix_memalign(void **p, size_t alignment, size_t size)
{
    if (size > number("FROM") && size < number("TO") && size % number("BUT") != 0)
        return ENOMEM;
    *p = memalign(alignment, size);
    return *p ? 0 : ENOMEM;
}
END
without() { # FROM TO COMMAND...: bytes between them are not given at a time
    without_from=$1 without_to=$2
    shift 2
    # Experts' weights are multiples of this.
    FROM=$without_from TO=$without_to BUT=${but:-65536} LD_PRELOAD=$PWD/short.so "$@"
}
alike() { # DB DB: the same tokens
    sql "$1" 'SELECT * FROM v_tokens ORDER BY 1, 2, 3' >one.txt && sql "$2" 'SELECT * FROM v_tokens ORDER BY 1, 2, 3' >two.txt &&
        cmp one.txt two.txt >>err
}
noted() { # DB GLOB [CELLS]
    is "SELECT count(*) >= ${3:-6} FROM v_cells WHERE note GLOB 'the memory had room for $2'" 1 "$1"
}
recipe 'nll { file = "texts.jsonl" }' >nll.lua
halved() { # JOBS CELLS
    rm -f h.db && gives 0 "$seqtopk" run nll.lua --db whole.db &&
        without 300000 1100000 gives 0 "$seqtopk" run nll.lua --db h.db --jobs "$1" &&
        noted h.db '[0-9]* tokens at a time, not for 1024' "$2" && alike whole.db h.db && gives 0 "$seqtopk" status h.db &&
        says '^note on .*: the memory had room for' && gives 0 "$seqtopk" show h.db "$(sql h.db 'SELECT min(cell_id) FROM v_cells WHERE note IS NOT NULL'):0" &&
        says 'note .*the memory had room for' && is 'SELECT count(note) FROM v_cells' 0 whole.db
}
too_long() {
    { cat texts.jsonl; printf '{"text": "%s"}\n' "$(yes 'one two three' | head -120 | tr '\n' ' ')"; } >long.jsonl
    recipe 'nll { file = "long.jsonl" }, nll { file = "texts.jsonl" }' >long.lua &&
        without 300000 1100000 gives 1 "$seqtopk" run long.lua --db l.db && grep -q 'w: 6 cells computed, .* 6 failed' err &&
        is "SELECT count(*) FROM v_cells WHERE status = 'failed' AND
            error GLOB '*tiny-olmoe-2k, *, document 24: out of memory: [0-9]* bytes more did not fit'" 6 l.db &&
        is "SELECT count(*) > 0 FROM v_samples JOIN v_cells USING (cell_id) WHERE status = 'failed'" 1 l.db
}
recipe '"toy/greedy"' >g.lua
no_keys() {
    gives 0 "$seqtopk" run g.lua --db g1.db && but=1000000007 without 1400000 2000000 gives 0 "$seqtopk" run g.lua --db g2.db --batch 32 &&
        noted g2.db '[0-9]* texts at a time, not for 32' && alike g1.db g2.db
}
no_step() {
    without 200000 250000 gives 0 "$seqtopk" run g.lua --db g3.db --threads 1 &&
        noted g3.db '[0-9]* texts at a time, not for 32' && alike g1.db g3.db
}
if [ -z "${ASAN_OPTIONS:-}" ] && ${CC:-cc} -shared -fPIC -o short.so short.c 2>/dev/null; then
    check "a batch without memory is halved, and the cells say so" halved 1 6
    check "so it is by each of several processes" halved 2 1
    check "one text that does not fit fails its cells, and no others" too_long
    check "without memory for the keys and values fewer texts are written side by side" no_keys
    check "nor is a step without memory the end of its texts" no_step
else
    skip "memory that is missing" "no compiler, or a sanitizer that has the memory"
fi

# ---- on GPUs ----

# The losses of both, of the same documents.
near() { # DB DB
    is "ATTACH '$2' AS o; SELECT count(*) = 144 AND max(abs(a.nll - b.nll)) < 1e-2 FROM main.v_samples a
        JOIN o.v_samples b USING (cell_id, doc)" 1 "$1"
}
two_on_one() {
    gives 0 "$seqtopk" run nll.lua --db c1.db --device cuda && gives 0 "$seqtopk" run nll.lua --db c2.db --device cuda --jobs 2 &&
        grep -q 'w: 6 cells computed' err && near c1.db c2.db && is 'SELECT count(note) FROM v_cells' 0 c2.db
}
on_each() {
    gives 0 "$seqtopk" run nll.lua --db c3.db --device cuda:0,cuda:1 && near c1.db c3.db &&
        is 'SELECT group_concat(DISTINCT device) FROM (SELECT device FROM v_cells ORDER BY 1)' cuda:0,cuda:1 c3.db
}
beyond() {
    fails 1 "device 'cuda:77' cannot be used: there \(is 1 GPU, cuda:0\|are [0-9]* GPUs, cuda:0 to cuda:\)" \
        "$seqtopk" run nll.lua --db x.db --device cuda:77
}
if [ "${SEQTOPK_TEST_DEVICE:-cpu}" != cpu ]; then
    check "two processes on one GPU give what one gives" two_on_one
    check "a GPU that is not there is told with those that are" beyond
else
    skip "two processes on one GPU give what one gives" "no GPU to test on"
    skip "a GPU that is not there is told with those that are" "no GPU to test on"
fi
if [ "${SEQTOPK_TEST_DEVICE:-cpu}" != cpu ] && [ "$(nvidia-smi -L 2>/dev/null | wc -l)" -gt 1 ]; then
    check "two GPUs share the cells" on_each
else
    skip "two GPUs share the cells" "no two GPUs to test on"
fi

# ---- what is refused ----

no_db() { rm -f x.db; "$@" && [ ! -e x.db ]; }
check "a device that stands twice is named" no_db fails 1 'cuda:0 stands twice' "$seqtopk" run w.lua --db x.db --device cuda:0,cuda:0
check "also under its other name" no_db fails 1 'cuda:0 stands twice' "$seqtopk" run w.lua --db x.db --device cuda,cuda:0
check "the CPU does not go with GPUs" no_db fails 2 'name GPUs alone' "$seqtopk" run w.lua --db x.db --device cuda:0,cpu
check "an unknown one among several is named" no_db fails 1 "\-\-device tpu: allowed is cpu" \
    "$seqtopk" run w.lua --db x.db --device cuda:0,tpu
check "so is an empty one" no_db fails 1 "\-\-device : allowed is cpu" "$seqtopk" run w.lua --db x.db --device cuda:0,
check "a device that is not there is named, and no database is made" no_db fails 1 "'cuda:98' cannot be used: " \
    "$seqtopk" run w.lua --db x.db --device cuda:98,cuda:99
check "fewer processes than devices are refused" no_db fails 2 'jobs 1: there are 2 devices' \
    "$seqtopk" run w.lua --db x.db --device cuda:0,cuda:1 --jobs 1
check "too many processes are refused" no_db fails 2 'jobs 257: at most 256' "$seqtopk" run w.lua --db x.db --jobs 257
check "no process at all is refused" no_db fails 2 'jobs 0: a whole number from 1 to 256 is needed' "$seqtopk" run w.lua --db x.db --jobs 0
check "a database that cannot be made leaves no process behind" fails 1 'nowhere/x.db' \
    "$seqtopk" run w.lua --db nowhere/x.db --jobs 2
plan
