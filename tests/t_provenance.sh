#!/bin/sh
# Where a database's numbers come from: the recipe, byte for byte; the program, the machine and what
# was read, by hash; one row a run, whatever ends it. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/lib_db.sh
. "$root/tests/lib_db.sh"
export LC_ALL=C
model=$root/results/models/tiny-olmoe-2k
export SEQTOPK_TRAINED="$PWD/trained"
i=0
while [ $i -lt 30 ]; do
    i=$((i + 1))
    echo "{\"text\": \"Question: What is $i + 3? The answer is $((i + 3)), since one counts on from $i.\"}"
done >texts.jsonl
recipe() { # NAME K [MORE]
    printf 'return sweep { name = "%s", models = "%s", K = %s, tasks = nll { file = "texts.jsonl" }, %s
        routers = { topk(), seqtopk { mode = "online" } } } -- no line break' "$1" "$model" "$2" "${3:-}"
}
recipe p '{ 4, 2 }' >p.lua
sql() { sqlite3 -cmd '.timeout 5000' -separator ' ' -bail "$1" "$2"; }
one="$PWD/a b's"
mkdir "$one"

a_run() {
    gives 0 "$seqtopk" run p.lua --db "$one/p.db" --limit 20 &&
        is 'SELECT count(*), max(sweep), max(outcome), sum(samples), sum(tokens) = (SELECT sum(tokens) FROM cell)
            FROM v_runs' '1 p done 80 1' "$(ln -sf "$one/p.db" p.db; echo p.db)"
}
check "a run is one row, with what it added" a_run
commit() {
    mkdir -p tree/scripts && cp "$root/scripts/revision" tree/scripts/ && gives 0 tree/scripts/revision && says '^#define SEQTOPK_REVISION ""$' &&
        (cd tree && git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm 1) >>err 2>&1 &&
        gives 0 tree/scripts/revision && says '^#define SEQTOPK_REVISION "[0-9a-f]\{12\}"$' &&
        echo '# changed' >>tree/scripts/revision && gives 0 tree/scripts/revision && says 'REVISION "[0-9a-f]\{12\}-dirty"$' &&
        mkdir -p tree/archive/scripts && cp "$root/scripts/revision" tree/archive/scripts/ &&
        gives 0 tree/archive/scripts/revision && says '^#define SEQTOPK_REVISION ""$'
}
if command -v git >/dev/null; then
    check "the commit is that of the sources, and none in an archive" commit
else
    skip "the commit is that of the sources, and none in an archive" "there is no git"
fi
program() {
    version=$("$seqtopk" --version)
    is "SELECT 'seqtopk ' || version || CASE revision WHEN '' THEN '' ELSE ' ' || revision END FROM v_runs" "$version" p.db &&
        is "SELECT libtorch <> '' AND blas <> '' AND device LIKE '%thread%' AND driver = '' AND shard IS NULL FROM v_runs" 1 p.db &&
        is 'SELECT host FROM v_runs' "$(uname -n)" p.db &&
        is 'SELECT length(run_id) FROM v_runs' 32 p.db
}
check "program, libtorch, BLAS, processor and host are known" program
# The command is what a shell takes: it runs, and finds all done.
command_line() {
    line=$(sql p.db 'SELECT command FROM v_runs') && echo "$line" >line
    sed "s|^seqtopk|'$seqtopk'|" line >line.sh && gives 0 sh line.sh &&
        grep -q '0 cells computed, 4 in the database already' err &&
        is 'SELECT count(*), count(DISTINCT command), count(DISTINCT run_id) FROM v_runs' '2 1 2' p.db
}
check "the command can be given to a shell again" command_line
sources() {
    is 'SELECT count(*), count(DISTINCT kind), min(length(hash)), max(length(hash)) FROM v_sources' '12 3 32 32' p.db &&
        is "SELECT DISTINCT name FROM v_sources WHERE kind = 'weights'" "$model" p.db &&
        is "SELECT DISTINCT name FROM v_sources WHERE kind = 'data'" texts.jsonl p.db &&
        before=$(sql p.db "SELECT DISTINCT hash FROM v_sources WHERE kind = 'data'") &&
        sed 's/counts on/goes on/' texts.jsonl >other && cp texts.jsonl kept && cp other texts.jsonl &&
        gives 0 "$seqtopk" run p.lua --db o.db --limit 20 && cp kept texts.jsonl &&
        [ "$before" != "$(sql o.db "SELECT DISTINCT hash FROM v_sources WHERE kind = 'data'")" ]
}
check "each cell has the hashes of what was read for it" sources
same_text() {
    gives 0 "$seqtopk" plan --from p.db && cmp out p.lua >>err 2>&1 &&
        grep -q "^p: was p.lua, and run last by: seqtopk run p.lua --db '.*p.db' --limit 20\$" err
}
check "plan --from gives the recipe back, byte for byte" same_text
edited() {
    { printf -- '-- \303\251\r\n\t\n'; recipe p '{ 4, 2, 1 }'; } >p2.lua
    gives 0 "$seqtopk" run p2.lua --db p.db --limit 20 && gives 0 "$seqtopk" plan --from p.db && cmp out p2.lua >>err 2>&1 &&
        is 'SELECT count(*) FROM v_recipes' 2 p.db && is 'SELECT count(*) FROM plan' 6 p.db
}
check "of a recipe that was edited the newest text is given" edited
several() {
    recipe q 2 >q.lua
    gives 0 "$seqtopk" run q.lua --db p.db --limit 5 &&
        fails 1 'p.db: has recipes of 2 sweeps; --sweep says which: p, q' "$seqtopk" plan --from p.db &&
        gives 0 "$seqtopk" plan --from p.db --sweep q && cmp out q.lua >>err 2>&1 &&
        fails 1 'p.db: has no recipe of a sweep x; there are p, q' "$seqtopk" plan --from p.db --sweep x
}
check "of several sweeps one must be named" several
none() {
    sqlite3 old.db <"$root/tests/data/store-v1.sql" >out && fails 1 'old.db: has no recipe: no run' "$seqtopk" plan --from old.db
}
check "a database without a recipe says so" none
check "--from goes with nothing else" fails 2 'plan: --from prints the recipe of a database; only --sweep' "$seqtopk" plan p.lua --from p.db
check "--sweep goes with --from" fails 2 'plan: --sweep goes with --from' "$seqtopk" plan p.lua --sweep q
check "a database that is not there is named" fails 1 'nope.db: No such file' "$seqtopk" plan --from nope.db

crew() {
    gives 0 "$seqtopk" run p.lua --db c.db --jobs 2 &&
        is 'SELECT count(*), sum(samples), max(outcome) FROM v_runs' '1 120 done' c.db &&
        is "SELECT libtorch <> '' FROM v_runs" 1 c.db && is 'SELECT sum(samples), count(DISTINCT run_id) FROM v_cell_runs' '120 1' c.db
}
check "a run of several processes is one row" crew
interrupted() {
    i=0
    while [ $i -lt 60 ]; do i=$((i + 1)); cat texts.jsonl; done >many.jsonl
    recipe k '{ 4, 2 }' | sed 's/texts.jsonl/many.jsonl/' >k.lua
    runs=0
    for signal in KILL TERM; do
        runs=$((runs + 1))
        "$seqtopk" run k.lua --db k.db --threads 1 >out 2>err &
        pid=$!
        n=0
        until [ "$(sqlite3 k.db "SELECT samples > 0 FROM run WHERE n = $runs" 2>/dev/null)" = 1 ]; do
            n=$((n + 1))
            [ $n -lt 600 ] && sleep 0.02 || return 1
        done
        kill -$signal $pid
        wait $pid 2>/dev/null
    done
    gives 0 "$seqtopk" run k.lua --db k.db &&
        is "SELECT group_concat(ifnull(outcome, '-'), ' ') FROM v_runs" '- interrupted done' k.db &&
        is 'SELECT sum(samples), min(samples) > 0, min(seconds) > 0 FROM v_runs' '7200 1 1' k.db &&
        is 'SELECT count(*) FROM (SELECT cell_id, sum(x.samples) AS n FROM v_cell_runs x GROUP BY 1) WHERE n = 1800' 4 k.db &&
        is 'SELECT sum(tokens) = (SELECT sum(tokens) FROM cell) FROM v_runs' 1 k.db
}
check "runs that were killed or stopped count what they left" interrupted
failed() {
    mkdir broken && cp -rL "$model/." broken && recipe f 2 | sed "s|$model|broken|" >f.lua &&
        python3 - <<'PY' && gives 1 "$seqtopk" run f.lua --db f.db && is 'SELECT outcome FROM v_runs' failed f.db
import struct
with open("broken/model.safetensors", "r+b") as f:
    n = struct.unpack("<Q", f.read(8))[0]
    f.seek(8 + n)
    f.write(b"\xff\xff\xff\xff" * 64)
PY
}
if command -v python3 >/dev/null; then
    check "a run whose cells failed has failed" failed
else
    skip "a run whose cells failed has failed" "there is no python3"
fi
trains() {
    recipe t 2 'train = sft { data = { file = "texts.jsonl", text = "text" }, steps = 2, batch = 2, lr = 1e-4, router = topk() },' >t.lua
    gives 0 "$seqtopk" train t.lua --db t.db && is "SELECT outcome, sweep, libtorch <> '' FROM v_runs" 'done t 1' t.db &&
        gives 0 "$seqtopk" plan --from t.db && cmp out t.lua >>err 2>&1 && gives 0 "$seqtopk" run t.lua --db t.db &&
        is "SELECT group_concat(kind, ', ') FROM (SELECT DISTINCT kind FROM v_sources ORDER BY 1)" 'data, tokenizer, trained weights, training data, weights' t.db &&
        is "SELECT count(*) FROM v_sources JOIN v_trainings ON hash = training_id" 2 t.db
}
check "a training is a run, and its data are sources" trains
scores() {
    mkdir -p data/gsm8k && printf '%s\n' '{"question": "What is 2 + 3?", "answer": "2 + 3 = 5\n#### 5"}' >problem.jsonl &&
        echo '{"doc": 0, "text": "The answer is 5. #### 5"}' >said.jsonl &&
        gives 0 "$seqtopk" score gsm8k/lmeval-5shot said.jsonl --file problem.jsonl --db s.db &&
        is "SELECT outcome, samples, libtorch = '', recipe_hash IS NULL, device LIKE '%thread%' FROM v_runs" 'done 1 1 1 1' s.db &&
        is "SELECT group_concat(kind || ' ' || name, ', ') FROM (SELECT * FROM v_sources ORDER BY kind)" \
            'data problem.jsonl, predictions said.jsonl' s.db &&
        fails 1 's.db: has no recipe' "$seqtopk" plan --from s.db
}
check "scoring texts is a run without a recipe and without libtorch" scores
shard() {
    id=$("$seqtopk" plan p.lua --tsv | awk 'NR == 2 { print $1 }') && full=$(sql c.db "SELECT id FROM plan WHERE id LIKE '$id%'") &&
        ids=$(sql c.db "SELECT id FROM plan WHERE id NOT LIKE '$id%'") &&
        { printf 'seqtopk shards 1\nsweep p\nshards 2 0 0\ncell 1 %s\n' "$full"; for x in $ids; do echo "cell 0 $x"; done; echo 'end 4'; } >m &&
        gives 0 "$seqtopk" run p.lua --shard m:1 && is 'SELECT shard, samples FROM v_runs' '2 of 2 30' shard-01.db &&
        is 'SELECT count(*), sum(samples), min(tokens) > 0 FROM plan' '4 120 1' shard-01.db
}
check "a shard knows which it is, and has the plan of all" shard
plan
