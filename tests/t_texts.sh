#!/bin/sh
# run on tasks that generate: what a sweep leaves of its texts and their scores, resuming, stopping,
# and what is refused before anything is loaded. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# The shipped model with a quarter of its positions, which are sooner full.
model=$PWD/tiny-olmoe-2k
mkdir "$model"
ln -s "$root"/results/models/tiny-olmoe-2k/* "$model"
rm "$model/config.json"
sed 's/"max_position_embeddings": 2048/"max_position_embeddings": 512/' "$root/results/models/tiny-olmoe-2k/config.json" >"$model/config.json"
export SEQTOPK_EVALS="$PWD/evals" SEQTOPK_DATA="$PWD"
mkdir evals

cat >evals/toy.lua <<'EOF'
local prompt = "Question: {q}\nAnswer:"
local number = { "exact", name = "number", find = "#### (-?[0-9]+)", take = "first",
                 reference = "{a}", golden = { { output = "#### 5", found = "5" } } }
local form = function(generate, measures, long)
  return { version = 1, about = "made up", prompt = prompt, generate = generate, measures = measures,
           long_prompt = long or "refuse" }
end
return {
  name = "toy", about = "made-up problems", license = "MIT", source = "here", file = "toy.jsonl",
  forms = {
    nll = { version = 1, about = "loss", prompt = prompt, target = " {a}" },
    greedy = form({ max_tokens = 40, stop = { "Question:" } }, { number }),
    drawn = form({ max_tokens = 40, stop = { "Question:" }, temperature = 0.8, top_p = 0.9 }, { number }),
    cut = form({ max_tokens = 500 }, { number }, "cut"),
    code = form({ max_tokens = 10 }, { { "program", name = "passed", program = "{code}", milliseconds = 1000 } }),
    judged = form({ max_tokens = 10 }, { number,
      { "judge", name = "quality", user = "Rate {output}", parse = "total ([0-9]+)", out_of = 10 } }),
  },
}
EOF
cat >toy.jsonl <<'EOF'
{"q": "Tom has 3 apples and buys 4 more. How many has he?", "a": "7", "code": "assert True"}
{"q": "Ann reads 5 pages a day. How many pages does she read in 6 days?", "a": "30", "code": "assert False"}
{"q": "A box has 12 eggs. How many eggs are in 3 boxes?", "a": "36", "code": "import sys; sys.exit(0)"}
{"q": "Sam had 10 sweets and ate 4. How many are left?", "a": "6", "code": "while True: pass"}
EOF
recipe() { # TASKS [MORE]
    printf 'return sweep { name = "t", models = "%s", K = { 8, 2 }, tasks = { %s }, %s
        routers = { topk(), seqtopk { mode = "online" }, seqtopk { mode = "strict", min = 0, max = N, prefill = "global" } } }\n' \
        "$model" "$1" "${2:-}"
}
recipe '"toy/greedy", "toy/nll", "toy/drawn"' 'seeds = { 1, 2 },' >t.lua
recipe '"toy/greedy"' >one.lua
recipe '"toy/code"' >code.lua
recipe '"toy/judged"' >judged.lua
sql() { sqlite3 -bail "$1" "$2"; }
is() { # SQL WANTED [DB]
    is_got=$(sql "${3:-a.db}" "$1")
    [ "$is_got" = "$2" ] || { echo "$1: $is_got, not $2" >>err; return 1; }
}
written="v_samples JOIN v_cells USING (cell_id) WHERE output IS NOT NULL"

wait_for() { # DB SQL: until it is true
    n=0
    while [ "$n" -lt 400 ] && [ "$(sqlite3 "$1" "$2" 2>/dev/null)" != 1 ]; do
        n=$((n + 1))
        sleep 0.05
    done
}
ends_with() { # CODE PID: within three seconds
    from=$(date +%s)
    wait "$2"
    code=$?
    took=$(($(date +%s) - from))
    [ "$code" = "$1" ] && [ "$took" -le 3 ] && return
    echo "exit code $code, not $1, after $took s" >>err
    return 1
}

# ---- what a sweep leaves ----

whole_run() {
    gives 0 "$seqtopk" run t.lua --db a.db &&
        grep -q 't: 36 cells computed, 0 in the database already, 0 failed' err &&
        is "SELECT count(*) FROM $written AND stop_reason IN ('eos', 'stop', 'length')" 96
}
check "a sweep with texts runs" whole_run
samples() {
    is "SELECT count(*) FROM $written AND (nll IS NOT NULL OR score NOT IN (0, 1)
            OR json_extract(extracted, '\$.number.score') <> score)" 0 &&
        is "SELECT count(*) FROM v_samples WHERE output LIKE '%Question:%' OR output LIKE '%<|%'" 0 &&
        is "SELECT max(output_tokens) <= 40 AND min(output_tokens) > 0 FROM $written" 1
}
check "a sample has its output, what was found and its score" samples
metrics() {
    is "SELECT count(*) FROM v_cells WHERE task = 'toy/greedy' AND 8 = (SELECT count(*) FROM v_metrics m
            WHERE m.cell_id = v_cells.cell_id AND metric IN ('score', 'number', 'no_answer',
            'number_no_answer', 'truncated', 'output_tokens', 'experts', 'cut'))" 12 &&
        is "SELECT count(*) FROM v_metrics m WHERE metric = 'score' AND abs(value -
            (SELECT avg(score) FROM v_samples s WHERE s.cell_id = m.cell_id)) > 1e-12" 0 &&
        is "SELECT count(*) FROM v_metrics m WHERE metric = 'truncated' AND abs(value -
            (SELECT avg(stop_reason = 'length') FROM v_samples s WHERE s.cell_id = m.cell_id)) > 1e-12" 0 &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'score' AND n = 4 AND stderr IS NOT NULL" 24
}
check "every score has its error, n, shares cut off and without an answer, experts used" metrics
tokens() {
    is "SELECT count(*) FROM v_tokens WHERE experts IS NULL OR token IS NULL OR entropy IS NULL" 0 &&
        is "SELECT count(*) FROM v_tokens WHERE nll IS NULL AND pos > 0" 0 &&
        is "SELECT count(*) FROM v_samples s WHERE output IS NOT NULL AND prompt_tokens + output_tokens <>
            (SELECT count(*) FROM v_tokens t WHERE t.cell_id = s.cell_id AND t.doc = s.doc)" 0 &&
        is "SELECT count(*) FROM v_cells WHERE router = 'topk' AND EXISTS
            (SELECT 1 FROM v_tokens t WHERE t.cell_id = v_cells.cell_id AND experts <> k)" 0
}
check "every token, drawn ones too, has its experts, entropy and loss" tokens
strict_budget() {
    is "SELECT max(over) <= 0 FROM (SELECT sum(t.experts - c.k) OVER (PARTITION BY t.cell_id, t.doc
            ORDER BY pos) AS over, pos, s.prompt_tokens AS p FROM v_tokens t JOIN v_cells c USING (cell_id)
            JOIN v_samples s USING (cell_id, doc) WHERE mode = 'strict' AND task = 'toy/greedy')
            WHERE pos >= p - 1" 1
}
check "strict keeps its budget behind a prompt that was routed globally" strict_budget
seeds() {
    of="FROM $written AND k = 8 AND router = 'topk' AND doc = 0 AND task"
    is "SELECT count(DISTINCT output) $of = 'toy/drawn'" 2 &&
        is "SELECT count(DISTINCT output) $of = 'toy/greedy'" 1
}
check "seeds change what is drawn, and nothing else" seeds
dump() {
    sql "$1" "SELECT * FROM v_tokens ORDER BY cell_id, doc, pos; SELECT * FROM v_samples ORDER BY 1, 2;
        SELECT * FROM v_metrics ORDER BY 1, 2"
}
other_batch() {
    gives 0 "$seqtopk" run t.lua --db b.db --threads 1 --batch 3 && dump a.db >a.txt &&
        dump b.db >b.txt && cmp a.txt b.txt
}
check "batches and threads change nothing" other_batch
resumes() {
    cp a.db c.db && sql c.db "DELETE FROM token WHERE doc >= 2; DELETE FROM sample WHERE doc >= 2;
            DELETE FROM metric; DELETE FROM entropy_bin; DELETE FROM histogram;
            UPDATE cell SET status = 'unfinished', samples = 2" &&
        gives 0 "$seqtopk" run t.lua --db c.db && grep -q '36 cells computed' err &&
        sql a.db 'SELECT * FROM v_samples ORDER BY 1, 2' >a.txt &&
        sql c.db 'SELECT * FROM v_samples ORDER BY 1, 2' >c.txt && cmp a.txt c.txt
}
check "a run that was stopped goes on with the texts that are missing" resumes
interrupted() {
    recipe '"toy/greedy", "toy/drawn"' 'seeds = { 1, 2, 3 },' >long.lua
    "$seqtopk" run long.lua --db i.db --threads 1 --batch 4 >out 2>err &
    pid=$!
    wait_for i.db 'SELECT count(*) >= 3 FROM sample'
    kill -INT "$pid"
    wait "$pid"
    code=$?
    [ "$code" = 130 ] && grep -q 'interrupted, run it again to go on' err &&
        is "SELECT count(*) BETWEEN 3 AND 143 FROM v_samples" 1 i.db &&
        is "SELECT count(*) FROM v_samples WHERE output IS NULL OR stop_reason IS NULL" 0 i.db &&
        gives 0 "$seqtopk" run long.lua --db i.db && is "SELECT count(*) FROM v_samples" 144 i.db
}
check "Ctrl-C keeps what is finished, and the next run does the rest" interrupted
unlogged() {
    recipe '"toy/greedy", "toy/nll"' 'seeds = { 1 }, log = { tokens = "none" },' >none.lua
    gives 0 "$seqtopk" run none.lua --db none.db && is "SELECT count(*) FROM v_tokens" 0 none.db &&
        is "ATTACH 'a.db' AS a; SELECT count(*), count(m.stderr) FROM v_metrics m JOIN v_cells c USING (cell_id)
            JOIN a.v_cells d USING (task, router, params, k, seed) JOIN a.v_metrics e ON e.cell_id = d.cell_id
            AND e.metric = m.metric WHERE m.metric IN ('experts', 'experts_share')
            AND abs(m.value - e.value) < 1e-9 AND m.n = e.n" '24|0' none.db
}
check "without logged tokens a score has the experts used beside it, by their load" unlogged
lost_store() {
    recipe '"toy/cut"' 'seeds = { 1, 2, 3, 4, 5 },' >cut5.lua
    "$seqtopk" run cut5.lua --db lost.db --threads 1 --batch 120 >out 2>err &
    pid=$!
    wait_for lost.db 'SELECT count(*) > 0 FROM sample'
    rm lost.db
    ends_with 1 "$pid" && grep -q 'lost.db' err
}
check "where nothing more can be stored, no text is written to its end" lost_store
# shellcheck disable=SC3045 # dash and bash have ulimit -v
no_room() {
    recipe '"toy/greedy", "toy/nll"' >room.lua
    (ulimit -v 3000000 && gives 0 "$seqtopk" run room.lua --db room.db --batch 4096) &&
        is "SELECT count(*) FROM v_cells WHERE task = 'toy/greedy' AND
            note GLOB 'the memory had room for [0-9]* texts at a time, not for 4096'" 6 room.db &&
        is "SELECT count(note) FROM v_cells WHERE task = 'toy/nll'" 0 room.db
}
if [ -z "${ASAN_OPTIONS:-}" ]; then
    check "a generator without room writes fewer texts at a time, and its cells say so" no_room
else
    skip "a generator without room writes fewer texts at a time, and its cells say so" "sanitizers want all address space"
fi
in_table() { gives 0 "$seqtopk" table a.db && says 'score ± se' 'no answer' 'truncated' 'toy/greedy'; }
check "table shows scores" in_table

# ---- code and judges ----

# What the model did, which no tool may change: the load would be twice as large after a second text.
texts_of() {
    sql "$1" 'SELECT cell_id, doc, output, stop_reason, output_tokens FROM v_samples ORDER BY 1, 2;
        SELECT id, samples, tokens FROM cell ORDER BY 1; SELECT * FROM v_tokens ORDER BY 1, 2, 3;
        SELECT cell_id, sum(tokens), sum(weight) FROM v_expert_load GROUP BY 1'
}
check "code is not run without being allowed" fails 1 \
    'run: task toy/code runs code that a model wrote, in a sandbox; say --allow-code-execution' \
    "$seqtopk" run code.lua --db n.db
check "and no database is made" test ! -e n.db
if "$seqtopk" doctor 2>/dev/null | grep -q '^ok *sandbox'; then
    runs_code() {
        gives 0 "$seqtopk" run code.lua --db code.db --allow-code-execution &&
            is "SELECT count(*) FROM v_cells WHERE status = 'done'" 6 code.db &&
            is "SELECT group_concat(DISTINCT doc || json_extract(extracted, '\$.passed.result') || score)
                FROM (SELECT * FROM v_samples ORDER BY doc)" \
                "0passed1.0,1AssertionError0.0,2SystemExit0.0,3timeout0.0" code.db
    }
    check "programs run in the sandbox, and say what became of them" runs_code
    # As if it had been stopped behind the last text.
    programs_later() {
        texts_of code.db >before.txt && sql code.db "DELETE FROM metric; UPDATE cell SET status = 'unfinished';
                UPDATE sample SET score = NULL, extracted = NULL WHERE doc < 3" &&
            runs_code && grep -q '6 cells computed' err && texts_of code.db >after.txt && cmp before.txt after.txt
    }
    check "texts that wait for their programs need no model" programs_later
else
    skip "programs run in the sandbox, and say what became of them" "the sandbox cannot be set up here"
    skip "texts that wait for their programs need no model" "the sandbox cannot be set up here"
fi
no_judge() {
    gives 0 "$seqtopk" run judged.lua --db j.db &&
        is "SELECT count(*) FROM v_metrics WHERE metric LIKE '%quality%'" 0 j.db &&
        is "SELECT count(*) FROM v_samples WHERE extracted LIKE '%quality%'" 0 j.db
}
check "without a judge there is no judge's score" no_judge
judged() { # COMMAND
    recipe '"toy/judged"' "judge = { command = \"$1\", model = \"j1\", tries = 1 }," >j.lua
    rm -f j.db
    gives 0 "$seqtopk" run j.lua --db j.db
}
good_judge() {
    judged 'cat >/dev/null; echo total 7' &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'quality:j1' AND value = 0.7 AND n = 4" 6 j.db &&
        is "SELECT count(*) FROM v_samples WHERE json_extract(extracted, '\$.\"quality:j1\".reply')
            LIKE 'total 7%'" 24 j.db
}
check "a judge's score carries its name, and its reply is kept" good_judge
prose_judge() {
    judged 'cat >/dev/null; echo rather good' &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'quality:j1_unparsed' AND value = 1 AND n = 4" 6 j.db
}
check "replies without a number are counted" prose_judge

with_judge() { # WHAT judge.sh DOES
    echo "cat >/dev/null; $1" >judge.sh
}
recipe '"toy/judged"' 'judge = { command = "sh judge.sh", model = "j1", tries = 1 },' >j.lua
recipe '"toy/judged"' 'judge = { command = "sh judge.sh", model = "j1", tries = 5 },' >slow.lua
completes() { # DB ARGS...: with a good judge, on the texts that are there
    texts_of "$1" >before.txt && with_judge 'echo total 7' && gives 0 "$seqtopk" run j.lua --db "$@" &&
        grep -q ' [1-6] cells* computed, [0-5] in the database already, 0 failed' err &&
        texts_of "$1" >after.txt && cmp before.txt after.txt &&
        is "SELECT count(*) FROM v_cells WHERE status = 'done' AND error IS NULL" 6 "$1" &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'quality:j1' AND value = 0.7 AND n = 4" 6 "$1" &&
        is "SELECT count(*) FROM v_metrics WHERE metric LIKE '%_failed'" 0 "$1"
}
dead_judge() {
    rm -f j.db && with_judge 'echo out of money >&2; exit 3' && gives 1 "$seqtopk" run j.lua --db j.db &&
        is "SELECT count(*) FROM v_cells WHERE status = 'failed' AND error LIKE
            '%toy/judged: 4 of 4 texts could not be scored by every measure%out of money'" 6 j.db &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'quality:j1_failed' AND value = 4
            OR metric = 'score' AND n = 4" 12 j.db &&
        is "SELECT count(*) FROM v_samples WHERE extracted LIKE '%out of money%' AND score IS NOT NULL" 24 j.db
}
check "a judge that cannot be asked loses no sample and no other score, and the cell says so" dead_judge
left_alone() {
    texts_of j.db >before.txt && with_judge 'echo total 7; echo >>asked' && rm -f asked && gives 1 "$seqtopk" run j.lua --db j.db &&
        grep -q '^seqtopk: 6 of 6 cells failed before, and only --retry-failed tries them again; the first: .*out of money' err &&
        [ ! -e asked ] && texts_of j.db >after.txt && cmp before.txt after.txt &&
        is "SELECT count(*) FROM v_cells WHERE status = 'failed' AND error LIKE '%out of money'" 6 j.db
}
check "the next run leaves it alone, and says how it is tried again" left_alone
check "a good one then completes the cell, on the texts that are there" completes j.db --retry-failed
# shellcheck disable=SC2016 # the judge's shell expands it
some_again() {
    with_judge 'for i in 1 2 3; do mkdir dead.$i 2>/dev/null && exit 126; done; echo x >>asked; echo total 7' &&
        gives 1 "$seqtopk" run j.lua --db some.db && [ "$(wc -l <asked)" = 21 ] &&
        is "SELECT sum(n) FROM v_metrics WHERE metric = 'quality:j1'" 21 some.db &&
        is "SELECT sum(value) FROM v_metrics WHERE metric = 'quality:j1_failed'" 3.0 some.db &&
        gives 0 "$seqtopk" run j.lua --db some.db --retry-failed && [ "$(wc -l <asked)" = 24 ] &&
        is "SELECT count(*) FROM v_cells WHERE status = 'done'" 6 some.db
}
check "only what failed is asked again" some_again
stopped() { # SIGNAL CODE DB RECIPE
    "$seqtopk" run "$4" --db "$3" >out 2>err &
    pid=$!
    wait_for "$3" 'SELECT count(*) = 24 FROM sample'
    sleep 0.2
    kill "-$1" "$pid"
    ends_with "$2" "$pid" 2>/dev/null && is "SELECT count(*) FROM $written AND stop_reason IS NOT NULL" 24 "$3" &&
        is "SELECT count(*) > 0 FROM v_samples WHERE extracted IS NULL" 1 "$3" &&
        is "SELECT count(*) > 0 AND sum(status = 'failed') = 0 FROM v_cells WHERE status <> 'done'" 1 "$3"
}
busy_judge() { with_judge 'sleep 1; echo total 7' && stopped INT 130 busy.db j.lua; }
check "Ctrl-C while judges are busy leaves the rest for the next run" busy_judge
check "which asks about the texts that are there" completes busy.db
waiting_judge() {
    with_judge 'exit 3' && stopped INT 130 waiting.db slow.lua && is "SELECT count(extracted) FROM v_samples" 0 waiting.db
}
check "nor is a pause between tries waited out" waiting_judge
killed() { with_judge 'sleep 1; echo total 7' && stopped KILL 137 killed.db j.lua; }
check "a run that is killed while judges are busy has all texts" killed
check "and the next one asks about these" completes killed.db

unnamed_judge() {
    recipe '"toy/judged"' 'judge = { url = "http://localhost:1/v1" },' >k.lua
    fails 1 'model' "$seqtopk" run k.lua --db k.db && [ ! -e k.db ]
}
check "a judge of whom too little is said is refused at once" unnamed_judge

# ---- prompts ----

long_prompts() {
    words=$(awk 'BEGIN { for (i = 0; i < 600; i++) printf "word%d ", i % 10 }')
    printf '{"q": "%s", "a": "1", "code": ""}\n{"q": "short?", "a": "1", "code": ""}\n' "$words" >toy.jsonl
    recipe '"toy/cut"' >cut.lua
    gives 0 "$seqtopk" run cut.lua --db cut.db && grep -q '1 document was cut to fit' err &&
        is "SELECT max(prompt_tokens) FROM v_samples" 12 cut.db &&
        is "SELECT count(*) FROM v_metrics WHERE metric = 'cut' AND value = 1 AND n = 2" 6 cut.db
}
check "a long prompt is cut on the left where the protocol says so, and counted" long_prompts
check "and refused where it does not" fails 1 'toy.jsonl:1: .*512' "$seqtopk" run one.lua --db n.db
no_decoding() {
    printf 'return sweep { name = "t", models = "%s", K = 2, routers = { seqtopk { mode = "global" } }, tasks = "toy/greedy" }' \
        "$model" >r.lua
    fails 1 'prefill = "global"' "$seqtopk" run r.lua --db n.db
}
check "a router that looks ahead cannot write, and the sentence says what can" no_decoding
check "too large a batch is refused" fails 2 'batch 5000: at most 4096' "$seqtopk" run one.lua --batch 5000

plan
