#!/bin/sh
# submit without a Slurm: what --dry-run prints, the manifest, and run --shard and train --shard, which
# Slurm's tasks call. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
model=$root/results/models/tiny-olmoe-2k
export SEQTOPK_TRAINED="$PWD/trained"
for i in 1 2 3 4; do
    echo "{\"text\": \"Question: What is $i + 3? The answer is $((i + 3)), since one counts on from $i.\"}"
done >texts.jsonl
recipe() { # K [MORE]
    printf 'return sweep { name = "w", models = "%s", K = %s, tasks = nll { file = "texts.jsonl" }, %s
        routers = { topk(), batchtopk { batch = 3 } } }\n' "$model" "$1" "${2:-}"
}
sft='train = { none(), sft { data = { file = "texts.jsonl", text = "text" }, steps = 1, batch = 2, lr = 1e-4, router = topk() } },'
recipe '{ 4, 2 }' >w.lua
recipe '{ 4, 2 }' "$sft" >t.lua

no_files() { [ -z "$(find . -name '*.shards' -o -name '*.db' -o -name results)" ]; }
dry() {
    gives 0 "$seqtopk" submit w.lua --dry-run --partition p --gpus-per-task 1 --tasks 3 --time 1:00:00 --mem 8G \
        --account lab --sbatch '--nice=5 --exclusive' --device cuda --dtype float32 --limit 3 || return 1
    says '^#SBATCH --partition=p$' '^#SBATCH --gpus-per-task=1$' '^#SBATCH --time=1:00:00$' '^#SBATCH --mem=8G$' \
        '^#SBATCH --account=lab$' '^#SBATCH --nice=5 --exclusive$' '^#SBATCH --array=0-2$' '^#SBATCH --requeue$' \
        "run w.lua --shard results/w.shards/manifest-[0-9a-f]*:\"\$SLURM_ARRAY_TASK_ID\"" \
        ' --device cuda --dtype float32 --limit 3 &$' \
        '^# ---- results/w.shards/merge.sh, submitted with --dependency=afterany:cells ----$' \
        '/seqtopk merge results/w.db results/w.shards/manifest-[0-9a-f]* &$' && no_files &&
        grep -q '^w: 4 cells in 3 shards; 0 cells are done already$' err && ! grep -q 'warning' err && sh_reads
}
sh_reads() { bash -n out 2>>err; }
check "--dry-run prints the scripts, and writes nothing" dry
with_training() {
    gives 0 "$seqtopk" submit t.lua --dry-run --tasks 4 --no-merge || return 1
    says 'models.sh ----$' 'cells.sh ----$' 'trained.sh, submitted with --dependency=afterany:models ----$' \
        'seqtopk train t.lua --shard ' && ! grep -q ' merge ' out && sh_reads && no_files
}
check "cells that need a model wait for those that make it" with_training
gpus_idle() {
    gives 0 "$seqtopk" submit w.lua --dry-run --gpus-per-task 2 &&
        grep -q 'warning: each task gets 2 GPUs and computes on the CPU; --device cuda uses them' err &&
        gives 0 "$seqtopk" submit w.lua --dry-run --gpus-per-task 2 --device cuda && says '--device cuda:0,cuda:1'
}
check "GPUs that nobody would use are told, and several are all used" gpus_idle
settings() {
    SEQTOPK_DATA="a b" gives 0 "$seqtopk" submit w.lua --dry-run && says "^export SEQTOPK_DATA='a b'\$"
}
check "the tasks get the settings of the one that submits" settings
mkdir empty
no_slurm() {
    fails 1 'submit: there is no Slurm on this machine: sbatch is not on the PATH' \
        env PATH="$PWD/empty" "$seqtopk" submit w.lua && no_files
}
check "a machine without Slurm is told, and nothing is written" no_slurm
check "an option with a quote is refused" fails 1 "submit: --partition a'b: no quote" "$seqtopk" submit w.lua --dry-run --partition "a'b"
check "--sbatch wants options" fails 1 'submit: --sbatch exclusive: options of sbatch are needed' "$seqtopk" submit w.lua --dry-run --sbatch exclusive
check "no tasks are refused" fails 2 '--tasks 0: a whole number from 1 to 1000 is needed' "$seqtopk" submit w.lua --tasks 0

# ---- shards ----

# An sbatch that says a number, so that all is written and nothing run.
mkdir bin && printf '#!/bin/sh\necho "$*" >>%s/said\necho 7\n' "$PWD" >bin/sbatch && chmod +x bin/sbatch
run_shards() {
    PATH="$PWD/bin:$PATH" gives 0 "$seqtopk" submit t.lua --tasks 3 --db r && says '^models 7$' '^cells 7$' '^trained 7$' '^merge 7$' &&
        grep -q -- '^--parsable --dependency=afterany:7 --kill-on-invalid-dep=yes r/w.shards/trained.sh$' said || return 1
    manifest=$(echo r/w.shards/manifest-*)
    models=$(sed -n 's/^shards [0-9]* [0-9]* //p' "$manifest")
    for i in $(seq 0 $((models - 1))); do
        gives 0 "$seqtopk" train t.lua --shard "$manifest:$i" && [ -s "r/w.shards/models-0$i.db" ] || return 1
    done
    [ "$(find trained -name config.json | wc -l)" = 2 ] || return 1
    for i in 0 1 2; do
        gives 0 "$seqtopk" run t.lua --shard "$manifest:$i" && says "^r/w.shards/shard-0$i.db\$" || return 1
        sqlite3 "r/w.shards/shard-0$i.db" "SELECT $i || ' ' || cell_id FROM v_cells WHERE status = 'done'"
    done | sort >done.txt
    sed -n 's/^cell \([0-9]* [0-9a-f]*\).*/\1/p' "$manifest" | sort | cmp - done.txt >>err 2>&1 && [ "$(wc -l <done.txt)" = 8 ]
}
check "each shard computes its own cells into its own database, and all are there" run_shards
# ---- merging them ----

merged() { # DB: it has what all shards have
    sql_cells="SELECT cell_id, status FROM v_cells ORDER BY 1"
    [ -s wanted.txt ] || for merged_db in r/w.shards/shard-*.db; do sqlite3 "$merged_db" "$sql_cells"; done | sort >wanted.txt
    sqlite3 "$1" "$sql_cells" | cmp - wanted.txt >>err 2>&1 && [ "$(wc -l <wanted.txt)" = 8 ] &&
        [ "$(sqlite3 "$1" 'SELECT count(*) FROM v_trainings')" = 2 ]
}
last_job() {
    gives 0 bash r/w.shards/merge.sh && says '^w: 8 cells done, 0 unfinished, 0 failed; 0 of 8 planned are left$' && merged r/w.db
}
check "the script of the last job merges what the shards have" last_job
folder() { gives 0 "$seqtopk" merge f.db r/w.shards && merged f.db && gives 0 "$seqtopk" merge f.db r/w.shards/ && merged f.db; }
check "the folder stands for its shards" folder
missing() {
    mv r/w.shards/shard-01.db away.db && n=$(grep -c '^cell 1 ' "$manifest") && mv r/w.shards/models-00.db gone.db &&
        gives 1 "$seqtopk" merge m.db "$manifest" &&
        says "^w: $((8 - n)) cells done, 0 unfinished, 0 failed; $n of 8 planned are left\$" &&
        grep -q "^seqtopk: r/w.shards/shard-01.db is missing: shard 1 of $manifest, with $n cells*\$" err &&
        grep -q "^seqtopk: r/w.shards/models-00.db is missing: the models' shard 0 of $manifest, with [12] models*\$" err &&
        [ "$(grep -c ^seqtopk: err)" = 2 ] || return 1
    # What it had may be there none the less.
    gives 0 "$seqtopk" merge m.db "$manifest" away.db gone.db && merged m.db && gives 0 "$seqtopk" merge m.db r/w.shards
    ok=$?
    mv away.db r/w.shards/shard-01.db && mv gone.db r/w.shards/models-00.db && return $ok
}
check "a shard whose database is missing is named, with what it should have had, and the others are merged" missing
cp r/w.db whole.db && rm r/w.db
again() {
    PATH="$PWD/bin:$PATH" gives 0 "$seqtopk" submit t.lua --tasks 3 --db r && [ ! -s out ] && grep -q 'nothing is left' err &&
        recipe '{ 4, 2, 1 }' "$sft" >more.lua && gives 0 "$seqtopk" submit more.lua --tasks 3 --db r --dry-run &&
        grep -q '^w: 4 cells in .*; 8 cells are done already$' err
}
check "only what is left is submitted again" again
without_manifest() {
    mkdir none && fails 1 'merge: none is a folder without a manifest of shards; name databases' "$seqtopk" merge m.db none
}
check "a folder without a manifest is told" without_manifest
hold() { # SECONDS: somebody is at work on shard 0
    (exec 9>r/w.shards/shard-00.db.lock && flock 9 && exec sleep "$1") &
    holder=$!
    sleep 0.3
}
predecessor() {
    hold 3
    SEQTOPK_NETWORK_FS=yes gives 0 "$seqtopk" run t.lua --shard "$manifest:0" && grep -q '0 cells computed, [1-9] in the database already' err &&
        grep -q '^w: waiting for the run before this one, which is still at work on r/w.shards/shard-00.db$' err
}
check "a task that is started again waits until the one before it has ended" predecessor
warned_early() {
    hold 60 && : >err
    SEQTOPK_NETWORK_FS=yes "$seqtopk" run t.lua --shard "$manifest:0" >out 2>err &
    run=$! n=0
    until grep -q waiting err || [ $n -ge 400 ]; do
        sleep 0.05
        n=$((n + 1))
    done
    kill -USR1 $run
    wait $run
    code=$?
    kill $holder
    echo "exit code $code" >>err
    [ $code = 138 ] && grep -q '^seqtopk: ended by SIGUSR1; what was computed before is in the database, and the next run goes on$' err
}
check "SIGUSR1 ends a run with a sentence, before its work begins" warned_early
for i in $(seq 500); do cat texts.jsonl; done >many.jsonl
warned() { # ARGUMENTS: of a run
    rm -f u.db*
    printf 'return sweep { name = "u", models = "%s", K = 4, tasks = nll { file = "many.jsonl" }, routers = topk() }\n' "$model" >u.lua
    "$seqtopk" run u.lua --db u.db "$@" >out 2>err &
    run=$! n=0
    until [ "$(sqlite3 u.db 'SELECT count(*) > 0 FROM sample' 2>/dev/null)" = 1 ] || [ $n -ge 600 ]; do
        sleep 0.05
        n=$((n + 1))
    done
    kill -USR1 $run
    wait $run
    code=$?
    echo "exit code $code" >>err
    [ $code = 138 ] && grep -q '^u: 0 cells computed.*; interrupted, run it again to go on$' err &&
        [ "$(sqlite3 u.db "SELECT outcome || ' ' || (samples > 0) FROM v_runs")" = 'interrupted 1' ]
}
check "and later it commits and stops, as by SIGTERM" warned
check "with several processes as well" warned --jobs 2
edited() {
    recipe '{ 8, 1 }' "$sft" >t.lua && cp r/w.shards/shard-00.db before.db &&
        fails 1 'manifest-[0-9a-f]*: shard 0 has the cell [0-9a-f]*, which t.lua has not: the recipe, its data' \
            "$seqtopk" run t.lua --shard "$manifest:0" && cmp before.db r/w.shards/shard-00.db &&
        fails 1 'shard 0 has the model [0-9a-f]*, which t.lua has not' "$seqtopk" train t.lua --shard "$manifest:0"
}
check "a recipe that was edited since is refused, and its database stays" edited
check "a shard that is not there" fails 1 'has no shard 3 of cells; they are counted from 0' "$seqtopk" run w.lua --shard "$manifest:3"
check "a shard without a number" fails 1 '--shard x: a manifest and a number are needed, FILE:I' "$seqtopk" run w.lua --shard x
check "a manifest that is not there" fails 1 'nowhere' "$seqtopk" run w.lua --shard nowhere:0
head -n 5 "$manifest" >cut.txt
shared_place() {
    SEQTOPK_NETWORK_FS=yes gives 0 "$seqtopk" run w.lua --db far.db --jobs 2 && [ -e far.db.lock ] && [ ! -e far.db-wal ] &&
        [ "$(sqlite3 far.db 'PRAGMA journal_mode')" = delete ] && gives 0 "$seqtopk" run w.lua --db near.db &&
        [ "$(sqlite3 near.db 'PRAGMA journal_mode')" = wal ] && [ ! -e near.db.lock ] || return 1
    flock far.db.lock sleep 3 & # another run's
    sleep 0.3
    SEQTOPK_NETWORK_FS=yes fails 1 'far.db: another run is at work on it' "$seqtopk" run w.lua --db far.db
}
check "in a shared place a database has no write-ahead log, and a file beside it is locked" shared_place
check "a manifest that was cut" fails 1 'cut.txt: is not a whole manifest' "$seqtopk" run w.lua --shard cut.txt:0
plan
