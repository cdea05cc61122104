#!/bin/sh
# score, end to end, on a small task of the test's own: the table, the database and going on in it,
# programs, a judge, and all that can be wrong with a file of predictions. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
export SEQTOPK_EVALS="$trash/evals" SEQTOPK_DATA="$trash/data"
sql() { sqlite3 -bail "$1" "$2"; }

mkdir evals data
cat >evals/sums.lua <<'EOF2'
local marked = { "exact", name = "marked", find = "#### ([0-9]+)", reference = "{a}" }
return {
  name = "sums", about = "sums", license = "none", source = "here", file = "sums.jsonl",
  forms = {
    nll   = { version = 1, prompt = "{q}", target = " {a}" },
    short = { version = 1, prompt = "{q}", generate = { max_tokens = 20 },
      measures = { marked, { "rouge_l", reference = "{a}" } } },
    whole = { version = 1, prompt = "{q}", generate = { max_tokens = 20 },
      measures = { { "exact", name = "marked", find = "#### ([0-9]+)", otherwise = "whole",
        reference = "{a}" } } },
    code  = { version = 1, prompt = "{q}", generate = { max_tokens = 20 },
      measures = { { "program", name = "runs", program = "{output}\nassert f() == {a}",
        milliseconds = 3000 } } },
    rated = { version = 1, prompt = "{q}", generate = { max_tokens = 20 },
      measures = { marked, { "judge", user = "{output}", parse = "([0-9.]+) of 10" } } },
    judged = { version = 1, prompt = "{q}", generate = { max_tokens = 20 },
      measures = { { "judge", user = "{output}", parse = "([0-9.]+) of 10" } } },
  },
}
EOF2
for i in 1 2 3 4 5 6; do
    printf '{"q": "What is %d + 1?", "a": "%d"}\n' $i $((i + 1))
done >data/sums.jsonl
# Out of order, the last without a prediction: right, wrong, none, right, right.
cat >p.jsonl <<'EOF2'
{"doc": 3, "text": "#### 5"}
{"doc": 0, "text": "#### 2", "more": [1]}
{"doc": 1, "text": "#### 9"}
{"text": "", "doc": 2}
{"doc": 4, "text": "é #### 6 #### 7"}
EOF2

# ---- the table ----

table() {
    gives 0 "$seqtopk" score sums/short p.jsonl --tsv || return 1
    tab=$(printf '\t')
    says "^metric${tab}value${tab}se${tab}n$" "^score${tab}0.6${tab}0.244948974${tab}5$" \
        "^marked${tab}0.6${tab}0.244948974${tab}5$" "^marked_no_answer${tab}0.2${tab}0.2${tab}5$" \
        "^no_answer${tab}0.2${tab}0.2${tab}5$" "^rouge_l${tab}0.533333333" && [ "$(wc -l <out)" -eq 6 ] &&
        grep -q '^p.jsonl: 5 of the 6 documents of sums/short were given; 1 of 6 documents have no prediction$' err
}
check "metrics with errors and n, and how many documents were given" table
whole() {
    sed 's/"text": ""/"text": "4"/' p.jsonl >w.jsonl && gives 0 "$seqtopk" score sums/whole w.jsonl --tsv &&
        says "^marked${tab}0.8${tab}" "^marked_no_answer${tab}0.2${tab}0.2${tab}5$" "^no_answer${tab}0.2${tab}0.2${tab}5$"
}
check "no answer is none, also where the whole text is then compared" whole
stops() {
    sed 's/generate = { max_tokens = 20 }/generate = { max_tokens = 20, stop = { "Question:", "Q" } }/' \
        evals/sums.lua >stop.lua && mkdir -p stops && mv stop.lua stops/sums.lua &&
        sed 's/"text": ""/"text": "Question: and then? #### 4"/' p.jsonl >s.jsonl &&
        SEQTOPK_EVALS=stops gives 0 "$seqtopk" score sums/short s.jsonl --tsv &&
        says "^score${tab}0.6${tab}" && grep -q '; 1 text was cut at a stop string of the task$' err
}
check "a text that goes on behind a stop string is cut there, and counted" stops
no_shots() {
    mkdir -p shots && sed 's/short = { version = 1,/& shots = { file = "none.jsonl", count = 1, text = "{q}" },/' \
        evals/sums.lua >shots/sums.lua && SEQTOPK_EVALS=shots gives 0 "$seqtopk" score sums/short p.jsonl --tsv &&
        says "^score${tab}0.6${tab}"
}
check "shots are not wanted where the texts are there" no_shots
people() { gives 0 "$seqtopk" score sums/short p.jsonl && says '^metric  *value  *se  *n$' '^score  *0\.6000  *0\.2449  *5$'; }
check "people read four digits" people
json() {
    gives 0 "$seqtopk" score sums/short p.jsonl --json &&
        python3 -c 'import json; t = json.load(open("out")); assert t[0] == {"metric": "score", "value": 0.6, "se": 0.244948974, "n": 5}, t[0]'
}
check "--json is a list of numbers" json
threads() {
    "$seqtopk" score sums/short p.jsonl --tsv --threads 1 >one 2>err && "$seqtopk" score sums/short p.jsonl --tsv --threads 5 >five 2>err && cmp one five
}
check "one thread and several come to the same" threads
limited() {
    gives 0 "$seqtopk" score sums/short p.jsonl --tsv --limit 2 && says "^score${tab}0.5${tab}0.5${tab}2$" &&
        grep -q '2 of the 2 documents' err && ! grep -q 'no prediction' err
}
check "--limit scores the first documents, and later predictions are no mistake" limited
other_file() {
    head -2 data/sums.jsonl >two.jsonl && head -3 p.jsonl | tail -2 >p2.jsonl &&
        gives 0 "$seqtopk" score sums/short p2.jsonl --file two.jsonl && grep -q '2 of the 2 documents' err
}
check "--file takes other documents" other_file

# ---- the database ----

stored() {
    gives 0 "$seqtopk" score sums/short p.jsonl --db a.db --tsv && cp out first &&
        [ "$(sql a.db 'SELECT sweep, model, router, mode IS NULL, k, min IS NULL, max IS NULL, params, train, task, device, dtype, status FROM v_cells')" = \
            "score|p.jsonl|none|1|0|1|1|{}|none|sums/short|none|none|done" ] &&
        [ "$(sql a.db 'SELECT group_concat(doc) FROM (SELECT doc FROM v_samples ORDER BY doc)')" = 0,1,2,3,4 ] &&
        [ "$(sql a.db "SELECT output, json_extract(extracted, '\$.marked'), score, stop_reason IS NULL, nll IS NULL, output_tokens FROM v_samples WHERE doc = 4")" = \
            'é #### 6 #### 7|{"score":1,"found":"6","compared":"6","with":"6"}|1.0|1|1|0' ] &&
        # The metrics are those of the table, and none is made up of tokens that nobody counted.
        [ "$(sql a.db "SELECT count(*) FROM v_metrics WHERE metric IN ('output_tokens', 'truncated', 'experts', 'load_entropy')")" = 0 ] &&
        [ "$(sql a.db "SELECT round(value, 6), round(stderr, 9), n FROM v_metrics WHERE metric = 'score'")" = "0.6|0.244948974|5" ] &&
        [ "$(sql a.db "SELECT value FROM v_metrics WHERE metric = 'documents'")" = 5.0 ]
}
check "--db writes one cell with samples and metrics" stored
again() {
    cp p.jsonl renamed.jsonl && gives 0 "$seqtopk" score sums/short renamed.jsonl --db a.db --tsv && cmp out first &&
        grep -q 'scored in a.db already' err && [ "$(sql a.db 'SELECT count(*) FROM v_cells')" = 1 ]
}
check "the same texts, whatever their file is called, are found done" again
others() {
    sed 's/#### 9/#### 3/' p.jsonl >q.jsonl && gives 0 "$seqtopk" score sums/short q.jsonl --db a.db &&
        gives 0 "$seqtopk" score sums/short p.jsonl --db a.db --limit 2 &&
        gives 0 "$seqtopk" score sums/rated p.jsonl --db a.db && [ "$(sql a.db 'SELECT count(*) FROM v_cells')" = 4 ]
}
check "another text, fewer documents, another form: another cell" others
beyond() {
    sed '/"doc": 4/s/7/8/' p.jsonl >beyond.jsonl && gives 0 "$seqtopk" score sums/short beyond.jsonl --db a.db --limit 2 && grep -q 'scored in a.db already' err
}
check "what stands beyond the limit makes no other cell" beyond
version() {
    cp a.db v.db && cp evals/sums.lua kept && sed 's/short = { version = 1/short = { version = 2/' kept >evals/sums.lua &&
        gives 0 "$seqtopk" score sums/short p.jsonl --db v.db && [ "$(sql v.db 'SELECT count(*) FROM v_cells')" = 5 ]
    ok=$?
    cp kept evals/sums.lua
    return $ok
}
check "another version of the form is another cell" version
# As if it had been stopped. What was scored is not scored again: its made-up score stays.
resumes() {
    cp a.db r.db && id=$(sql r.db "SELECT cell_id FROM v_cells WHERE model = 'p.jsonl' AND task = 'sums/short' ORDER BY started LIMIT 1") &&
        sql r.db "DELETE FROM metric; DELETE FROM sample WHERE doc > 1; UPDATE sample SET score = 1; UPDATE cell SET status = 'unfinished', samples = 2" &&
        gives 0 "$seqtopk" score sums/short p.jsonl --db r.db --tsv && says "^score${tab}0.8" &&
        [ "$(sql r.db "SELECT status, samples FROM cell WHERE id = '$id'")" = "done|5" ] &&
        [ "$(sql r.db "SELECT round(value, 6) FROM v_metrics WHERE metric = 'score' AND cell_id = '$id'")" = 0.8 ]
}
check "what was stopped goes on" resumes
shown() {
    gives 0 "$seqtopk" table a.db && gives 0 "$seqtopk" status a.db &&
        gives 0 "$seqtopk" show a.db 4 --where "model = 'q.jsonl'" && says '#### 6 #### 7' &&
        gives 0 "$seqtopk" compare a.db "model = 'q.jsonl'" "model = 'p.jsonl' AND task = 'sums/short' AND cell_id IN
            (SELECT cell_id FROM v_metrics WHERE metric = 'documents' AND value = 5)" &&
        fails 1 'a.db: has no finished cell to draw' "$seqtopk" plot a.db --out f
}
check "table, status, show and compare know such cells, and plot has nothing to draw" shown

# What a run has written, scored again without its model.
as_run() {
    printf 'return sweep { name = "t", models = { "%s" }, K = 8, routers = { topk() }, tasks = { "sums/short" } }\n' \
        "$root/results/models/tiny-olmoe-2k" >run.lua &&
        gives 0 "$seqtopk" run run.lua --db m.db &&
        sql m.db "SELECT json_object('doc', doc, 'text', output) FROM v_samples" >written.jsonl &&
        gives 0 "$seqtopk" score sums/short written.jsonl --db m.db &&
        [ "$(sql m.db 'SELECT count(DISTINCT cell_id), count(*), count(DISTINCT doc || output || score || extracted) FROM v_samples')" = '2|12|6' ] &&
        [ "$(sql m.db "SELECT count(*), count(DISTINCT metric || value || '+' || coalesce(stderr, '')) FROM v_metrics WHERE metric IN ('score', 'marked_no_answer', 'rouge_l')")" = '6|3' ]
}
check "what a run wrote is scored as the run scored it" as_run

# ---- a judge ----

unjudged() {
    gives 0 "$seqtopk" score sums/rated p.jsonl --tsv && grep -q 'no judge is named' err && ! grep -q judge out && says "^score${tab}0.6"
}
check "without a judge its score is absent, and that is said" unjudged
cat >judge.sh <<'EOF2'
# 9 of 10 for what has a 5 in it, prose for the rest
if grep -q '#### 5'; then echo '9 of 10'; else echo 'Well.'; fi
EOF2
judged() {
    gives 0 "$seqtopk" score sums/rated p.jsonl --tsv --judge-command 'sh judge.sh' --judge-model strict --db j.db &&
        says "^judge:strict${tab}0.18${tab}0.18${tab}5" "^judge:strict_unparsed${tab}0.8${tab}0.2${tab}5" "^score${tab}0.6" &&
        gives 0 "$seqtopk" score sums/rated p.jsonl --judge-command 'sh judge.sh' --judge-model other --db j.db &&
        [ "$(sql j.db 'SELECT count(*) FROM v_cells')" = 2 ]
}
check "a judge's name is in its metric, and another judge is another cell" judged
check "a task that only a judge scores needs one" fails 1 'all that sums/judged measures is asked of a judge' "$seqtopk" score sums/judged p.jsonl
check "a judge that nobody asks is wrong usage" fails 2 'no measure of sums/short asks a judge' "$seqtopk" score sums/short p.jsonl --judge-command true
check "a url without a model is refused" fails 1 'model' "$seqtopk" score sums/rated p.jsonl --judge-url http://localhost:1/v1
broken() {
    gives 0 "$seqtopk" score sums/rated p.jsonl --tsv --judge-command 'exit 127' --judge-model gone && says "^judge:gone_failed${tab}5${tab}${tab}5$" "^score${tab}0.6" &&
        ! grep -q "^judge:gone$tab" out && grep -q 'warning: judge:gone could not score document 0, the first' err
}
check "a judge that cannot be asked scores nothing, and why is said" broken

asked_again() {
    echo 'echo no answer >&2; exit 126' >mood.sh && for_mood() { gives "$1" "$seqtopk" score sums/rated p.jsonl --tsv --judge-command 'sh mood.sh' --judge-model m --db m2.db; } &&
        for_mood 1 && says "^judge:m_failed${tab}5" "^score${tab}0.6" && grep -q '^seqtopk: sums/rated: 5 of 5 texts could not be scored by every measure.*no answer' err &&
        [ "$(sql m2.db 'SELECT status, error LIKE "%no answer" FROM v_cells')" = 'failed|1' ] &&
        echo "grep -q '#### 5' && exit 126; echo 4 of 10" >mood.sh && for_mood 1 && says "^judge:m${tab}0.4${tab}0${tab}4" "^judge:m_failed${tab}1" &&
        echo 'echo 9 of 10' >mood.sh && for_mood 0 && says "^judge:m${tab}0.5${tab}0.1${tab}5" && ! grep -q m_failed out &&
        [ "$(sql m2.db "SELECT status, error IS NULL, (SELECT count(*) FROM v_samples), (SELECT count(*) FROM v_metrics WHERE metric LIKE '%failed') FROM v_cells")" = 'done|1|5|0' ]
}
check "in a database it is asked again about what it did not answer, and no more" asked_again

# ---- programs ----

cat >code.jsonl <<'EOF2'
{"doc": 0, "text": "def f(): return 2"}
{"doc": 1, "text": "def f(): return 9"}
{"doc": 2, "text": "x ="}
EOF2
check "code is not run unasked" fails 1 'sums/code runs code .* say --allow-code-execution' "$seqtopk" score sums/code code.jsonl
runs() {
    gives 0 "$seqtopk" score sums/code code.jsonl --tsv --allow-code-execution --db c.db && says "^runs${tab}0.333333333${tab}0.333333333${tab}3" &&
        [ "$(sql c.db "SELECT group_concat(json_extract(extracted, '\$.runs.result')) FROM (SELECT * FROM v_samples ORDER BY doc)")" = passed,AssertionError,SyntaxError ]
}
if "$seqtopk" doctor 2>/dev/null | grep -q '^ok *sandbox'; then
    check "programs are run, and how each ended is stored" runs
else
    skip "programs are run, and how each ended is stored" "no sandbox here"
fi

# ---- bad input: one sentence, and no database is made ----

bad() { # LINE WORDS
    printf '{"doc": 0, "text": "a"}\n%b' "$1" >bad.jsonl
    fails 1 "$2" "$seqtopk" score sums/short bad.jsonl --db x.db && [ ! -e x.db ]
}
check "an unknown document is answered with those there are" bad '{"doc": 6, "text": "a"}\n' 'bad.jsonl:2: there is no document 6; sums/short has 6, from 0 to 5'
check "a negative one is out of range" bad '{"doc": -1, "text": "a"}\n' 'bad.jsonl:2: doc is -1'
check "a document twice is refused with both lines" bad '{"doc": 1, "text": "a"}\n{"doc": 0, "text": "a"}\n' 'bad.jsonl:3: document 0 has a text already, from line 1'
check "a line without a document is refused" bad '{"text": "a"}\n' "bad.jsonl:2: .*doc"
check "a line without a text is refused" bad '{"doc": 1}\n' "bad.jsonl:2: .*text"
check "a text that is none is refused" bad '{"doc": 1, "text": 5}\n' 'bad.jsonl:2: text is 5'
check "a document that is no number is refused" bad '{"doc": "1", "text": "a"}\n' 'bad.jsonl:2: doc is "1"'
check "a fraction is no document" bad '{"doc": 1.5, "text": "a"}\n' 'bad.jsonl:2: doc is 1.5'
check "what is no JSON is refused by line" bad '{"doc": 1, "text": \n' 'bad.jsonl:2'
check "an empty line is refused" bad '\n' 'bad.jsonl:2: an empty line'
check "bytes that are no UTF-8 are refused by line" bad '{"doc": 1, "text": "\0377"}\n' 'bad.jsonl:2: .*UTF-8'
: >empty.jsonl
check "an empty file is refused" fails 1 'empty.jsonl: an empty file; lines {"doc": 0' "$seqtopk" score sums/short empty.jsonl
check "a file that is not there is named" fails 1 'none.jsonl' "$seqtopk" score sums/short none.jsonl
nothing() {
    echo '{"doc": 5, "text": "a"}' >last.jsonl && fails 1 'last.jsonl: has no text for the first 2 documents' "$seqtopk" score sums/short last.jsonl --limit 2
}
check "no text at all within the limit is refused" nothing
check "a task with a loss is refused with those that have measures" \
    fails 1 'task sums/nll scores a loss.*sums/code, sums/judged, sums/rated, sums/short' "$seqtopk" score sums/nll p.jsonl
check "an unknown task is answered with the known" fails 1 "no task 'sums/long'; known of sums are" "$seqtopk" score sums/long p.jsonl
check "a database that cannot be made is named" fails 1 'nowhere/x.db' "$seqtopk" score sums/short p.jsonl --db nowhere/x.db
no_data() { SEQTOPK_DATA=nowhere fails 1 'nowhere/sums.jsonl is missing; scripts/fetch-data' "$seqtopk" score sums/short p.jsonl; }
check "missing data are named" no_data
check "too many threads are refused" fails 2 'at most 1024' "$seqtopk" score sums/short p.jsonl --threads 2000
check "no file at all is wrong usage" fails 2 'score needs more operands' "$seqtopk" score sums/short

# ---- GSM8K itself ----

shared=${SEQTOPK_SHARED:-$root/../shared}/data
gsm8k() {
    python3 -c '
import json, sys
for doc, line in enumerate(open(sys.argv[1])):
    print(json.dumps({"doc": doc, "text": json.loads(line)["answer"]}))' "$shared/gsm8k/test.jsonl" >answers.jsonl || return 1
    for protocol in lmeval-5shot densemixer-0shot; do
        SEQTOPK_DATA=$shared gives 0 "$seqtopk" score gsm8k/$protocol answers.jsonl --tsv && says "^score${tab}1${tab}0${tab}1319$" || return 1
    done
}
if [ -f "$shared/gsm8k/train.jsonl" ]; then
    check "GSM8K's own answers score 1 in 1319 of 1319" gsm8k
else
    skip "GSM8K's own answers score 1 in 1319 of 1319" "no gsm8k under $shared"
fi
plan
