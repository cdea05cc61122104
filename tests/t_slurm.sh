#!/bin/sh
# submit beside a real Slurm, which scripts/slurm-test starts: shards, trained models, pre-emption, and
# what sbatch refuses. TAP on stdout.
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
all_ended() { # until no job is left; those that wait to be started again are started now
    n=0
    while [ "$(squeue -h -o %i | wc -l)" -gt 0 ] && [ $n -lt 300 ]; do
        for job in $(squeue -h -r -t PD -O 'JobID:20,RestartCnt:8' | awk '$2 > 0 { print $1 }'); do
            scontrol update jobid="$job" StartTime=now >>log 2>&1
        done
        sleep 0.2
        n=$((n + 1))
    done
    squeue >>err
    [ $n -lt 300 ]
}
begun() { # until a shard has samples
    n=0
    until [ "$(sqlite3 r/w.shards/shard-00.db 'SELECT count(*) > 0 FROM sample' 2>/dev/null)" = 1 ]; do
        n=$((n + 1))
        [ $n -lt 400 ] || return 1
        sleep 0.05
    done
}

shards_run() {
    gives 0 "$seqtopk" submit w.lua --partition low --tasks 4 --db r --time 30 || return 1
    says '^models [0-9]*$' '^cells [0-9]*$' '^trained [0-9]*$' '^merge [0-9]*$' &&
        grep -q 'w: 12 cells in 4 shards, of which [123] waits* for 2 models to be trained; 0 cells are done' err &&
        begun || return 1
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
made_once() {
    [ "$(cat r/w.shards/models-*.log | grep -c '1 model trained')" = 2 ] &&
        ! grep -q 'was trained\|were trained' r/w.shards/trained-*.log
}
check "each model was made once, before the cells that need it" made_once
nothing_left() {
    gives 0 "$seqtopk" submit w.lua --partition low --tasks 4 --db r && [ ! -s out ] &&
        grep -q '^w: nothing is left to be submitted$' err
}
check "what is done is not submitted again" nothing_left
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
