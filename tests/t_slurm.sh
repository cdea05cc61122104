#!/bin/sh
# submit beside a real Slurm, which scripts/slurm-test starts: shards, trained models, pre-emption, a
# time limit, a model that cannot be made, and what sbatch refuses. Slurm's limits are whole minutes, so
# that it is told here that one is near; SEQTOPK_TEST_LONG=1 waits for a real one. TAP on stdout.
set -u
if [ -z "${SLURM_CONF:-}" ]; then
    out=$(mktemp)
    "$(dirname "$0")/../scripts/slurm-test" "$0" 2>"$out"
    code=$?
    if [ $code = 77 ]; then
        # shellcheck source=tests/lib.sh
        . "$(dirname "$0")/lib.sh"
        skip "a sweep runs in shards under Slurm" "$(head -n 1 "$out")"
        plan
        code=0
    fi
    cat "$out" >&2
    rm -f "$out"
    exit $code
fi
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# The shards' databases are kept as on a network file system.
export SEQTOPK_TRAINED="$PWD/trained" LC_ALL=C SEQTOPK_NETWORK_FS=yes

for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    echo "{\"text\": \"Question: What is $i + 3? The answer is $((i + 3)), since one counts on from $i three times.\"}"
    echo "{\"text\": \"Once upon a time there were $i houses at the edge of a wood, and nobody lived in them.\"}"
done >texts.jsonl
for i in 1 2 3 4 5 6 7 8; do cat texts.jsonl; done >many.jsonl
cat >w.lua <<END
return sweep { name = "w", models = "$root/results/models/tiny-olmoe-2k", K = { 4, 2 },
  tasks = nll { file = "many.jsonl" }, routers = { topk(), batchtopk { batch = 5 }, seqtopk { mode = "online" } },
  train = { none(), sft { data = { file = "texts.jsonl", text = "text" }, steps = 2, batch = 2, lr = 1e-4,
                          router = topk() } } }
END

# Every view of all databases, one below the other, times apart.
views() {
    for views_db; do
        sqlite3 -bail "$views_db" "SELECT 'cell', cell_id, sweep, model, router, mode, k, min, max, params, train,
                task, seed, device, dtype, status, error, note FROM v_cells;
            SELECT 'metric', * FROM v_metrics; SELECT 'sample', * FROM v_samples; SELECT 'token', * FROM v_tokens;
            SELECT 'bin', * FROM v_entropy_bins;
            SELECT 'load', cell_id, layer, expert, tokens, round(weight, 9) FROM v_expert_load;
            SELECT 'training', training_id, sweep, model, label, settings FROM v_trainings;
            SELECT 'step', training_id, step, tokens, loss, lr, grad_norm, experts FROM v_training_steps;
            SELECT 'source', * FROM v_sources; SELECT 'experts', * FROM v_token_experts" || return 1
    done | sort
}
patience=300 # fifths of a second
hurried=
hurry() { # a job that waits to be started again; not in the second in which it was ended, or slurmd refuses it
    case " $hurried " in *" $1 "*) return ;; esac
    scontrol update jobid="${1%.*}" StartTime=now+2 >>log 2>&1 && hurried="$hurried $1"
}
all_ended() { # until no job is left
    n=0
    while [ "$(squeue -h -o %i | wc -l)" -gt 0 ] && [ $n -lt $patience ]; do
        for job in $(squeue -h -r -t PD -O 'ArrayJobID:12,ArrayTaskID:12,RestartCnt:8' |
            awk '$3 > 0 { print $1 ($2 ~ /^[0-9]+$/ ? "_" $2 : "") "." $3 }'); do
            hurry "$job"
        done
        sleep 0.2
        n=$((n + 1))
    done
    squeue >>err
    [ $n -lt $patience ]
}
begun() { # DB: until it has samples
    n=0
    until [ "$(sqlite3 "$1" 'SELECT count(*) > 0 FROM sample' 2>/dev/null)" = 1 ]; do
        n=$((n + 1))
        [ $n -lt 400 ] || return 1
        sleep 0.05
    done
}

shards_run() {
    gives 0 "$seqtopk" submit w.lua --partition low --tasks 4 --db r --time 30 || return 1
    says '^models [0-9]*$' '^cells [0-9]*$' '^trained [0-9]*$' '^merge [0-9]*$' &&
        grep -q 'w: 12 cells in 4 shards, of which [123] waits* for 2 models to be trained; 0 cells are done' err &&
        begun r/w.shards/shard-00.db || return 1
    # All four processors for somebody more important: the tasks at work have to go.
    sbatch -p high -n 4 -o /dev/null --wrap 'sleep 0.5' >log 2>&1 && all_ended
}
check "a sweep is submitted, pre-empted, started again, and ends" shards_run
cat r/w.shards/*.log >>err
interrupted() {
    grep -q 'interrupted, run it again to go on' r/w.shards/cells-*.log r/w.shards/models-*.log
}
check "what was pre-empted committed what it had and stopped by itself" interrupted
same_as_one() {
    SEQTOPK_TRAINED="$PWD/other" gives 0 "$seqtopk" run w.lua --db one.db &&
        views one.db >one.txt && views r/w.db >merged.txt && [ "$(grep -c '^cell|' one.txt)" = 12 ] &&
        cmp one.txt merged.txt >>err 2>&1
}
check "what the last job merged is what one process gives, in every view" same_as_one
merge_job() {
    cat r/w.shards/merge.log >>err
    grep -q '^w: 12 cells done, 0 unfinished, 0 failed; 0 of 12 planned are left$' r/w.shards/merge.log &&
        ! grep '^seqtopk: ' r/w.shards/merge.log && views r/w.shards/*.db >four.txt && cmp one.txt four.txt >>err 2>&1
}
check "it said that nothing is left, and the shards are as they were" merge_job
no_wal() {
    for db in r/w.shards/*.db; do
        [ "$(od -An -tu1 -j18 -N2 "$db" | tr -d ' ')" = 11 ] || return 1
        [ -e "$db.lock" ] || return 1
    done
}
check "no shard's database needs memory that machines would have to share" no_wal
made_once() { # a task may be pre-empted when the model is there and before it says so
    grep . r/w.shards/models-*.log r/w.shards/trained-*.log >>err
    for maker in r/w.shards/models-*.log; do
        grep '^w: ' "$maker" | tail -n 1 | grep -q '^w: 1 model trained, 0 there already, 0 failed$\|^w: 0 models trained, 1 there already, 0 failed$' ||
            return 1
    done
    [ "$(cat r/w.shards/models-*.log | grep -c '1 model trained')" -le 2 ] && ! grep -q 'was trained\|were trained' r/w.shards/trained-*.log
}
check "each model was made once, before the cells that need it" made_once
nothing_left() {
    gives 0 "$seqtopk" submit w.lua --partition low --tasks 4 --db r && [ ! -s out ] &&
        grep -q '^w: nothing is left to be submitted$' err
}
check "what is done is not submitted again" nothing_left

# ---- a time limit ----

# The sweep l, of so many pieces of text.
limited() { # PIECES
    for i in $(seq "$1"); do cat texts.jsonl; done >long.jsonl
    cat >l.lua <<END
return sweep { name = "l", models = "$root/results/models/tiny-olmoe-2k", K = 4,
  tasks = nll { file = "long.jsonl" }, routers = { topk(), seqtopk { mode = "online" } } }
END
    rm -f l1.*
}
goes_on() { # DIR: its task was started again by its own wish, and went on to the end
    cat "$1"/l.shards/*.log >>err
    grep -q '^the time limit is near; the task is started again and goes on$' "$1/l.shards/cells-0.log" &&
        grep -q '^l: 2 cells done, 0 unfinished, 0 failed; 0 of 2 planned are left$' "$1/l.shards/merge.log" &&
        [ "$(sqlite3 "$1/l.db" 'SELECT count(*) > 1 FROM v_runs')" = 1 ] || return 1
    [ -s l1.txt ] || { gives 0 "$seqtopk" run l.lua --db l1.db && views l1.db >l1.txt; } || return 1
    views "$1/l.db" | cmp - l1.txt >>err 2>&1
}
program_of() { # DIR: its process
    pgrep -f "run l.lua --shard $1/l.shards"
}
near() { # of a limit of four seconds the last is meant for the end; both stand still until they are told
    for dir in l m; do
        gives 0 "$seqtopk" submit l.lua --tasks 1 --db $dir --time 0:04 && mv out $dir.jobs || return 1
    done
    for dir in l m; do
        begun $dir/l.shards/shard-00.db && kill -STOP "$(program_of $dir)" || return 1
    done
    sleep 1
    for dir in l m; do
        scancel -b -s USR1 "$(sed -n 's/^cells //p' $dir.jobs)" || return 1
    done
    sleep 0.3
    kill -CONT "$(program_of l)" && all_ended && goes_on l
}
limited 12
check "a task that is told of its time limit is started again and goes on" near
check "so is one whose program is deaf, which is killed" goes_on m
if [ -n "${SEQTOPK_TEST_LONG:-}" ]; then
    limited 500
    limit() {
        patience=3000
        gives 0 "$seqtopk" submit l.lua --tasks 1 --db t --time 1 && all_ended && goes_on t
    }
    check "a real limit of a minute is outlived" limit
else
    skip "a real limit of a minute is outlived" "takes minutes; SEQTOPK_TEST_LONG=1 waits for them"
fi

# ---- a model that cannot be made ----

cat >f.lua <<END
local bad = router { name = "bad", budget = "any", scope = "token", select = function() error("not today") end }
local how = { data = { file = "texts.jsonl", text = "text" }, steps = 1, batch = 2, lr = 1e-4, router = topk() }
local spoilt = { data = how.data, steps = 1, batch = 2, lr = 1e-4, router = bad }
return sweep { name = "f", models = "$root/results/models/tiny-olmoe-2k", K = 4, tasks = nll { file = "texts.jsonl" },
  routers = topk(), train = { none(), sft(how), sft(spoilt) } }
END
one_fails() {
    gives 0 "$seqtopk" submit f.lua --tasks 4 --db f && says '^models ' '^trained ' && all_ended || return 1
    cat f/f.shards/*.log >>err
    SEQTOPK_TRAINED="$PWD/other" gives 1 "$seqtopk" run f.lua --db f1.db && views f1.db >f1.txt && views f/f.db >f.txt &&
        cmp f1.txt f.txt >>err 2>&1 && [ "$(grep -c '^cell|.*|done|' f.txt)" = 2 ] &&
        [ "$(grep -c '^cell|.*|failed|.*router "bad": f.lua:1: not today' f.txt)" = 1 ]
}
check "a model that cannot be made fails its own cells, as in one process, and no others" one_fails
last_word() {
    cat f/f.shards/merge.log >err
    grep -q '^f: 2 cells done, 0 unfinished, 1 failed; 1 of 3 planned are left$' f/f.shards/merge.log
}
check "and the last job says what is missing" last_word

# ---- what sbatch refuses ----

check "a partition that does not exist: sbatch's words are passed on" \
    fails 1 'submit: sbatch refused .*invalid partition specified: nowhere' "$seqtopk" submit w.lua --partition nowhere --tasks 2 --db q
none_left() { [ "$(squeue -h | wc -l)" = 0 ]; }
check "and no job of it is left" none_left
broken_later() {
    mkdir bin && printf '#!/bin/sh\ncase "$*" in *cells.sh) echo "sbatch: error: no more" >&2; exit 1 ;; esac\nexec %s "$@"\n' \
        "$(command -v sbatch)" >bin/sbatch && chmod +x bin/sbatch || return 1
    PATH="$PWD/bin:$PATH" SEQTOPK_TRAINED="$PWD/third" fails 1 'sbatch refused s/w.shards/cells.sh: no more' \
        "$seqtopk" submit w.lua --partition low --tasks 2 --db s --sbatch --hold && none_left
}
check "where a later job is refused, the earlier ones are taken back" broken_later
plan
