#!/bin/sh
# run, end to end, on the shipped model: what a sweep leaves in the database, resuming, and all that
# can be wrong with what it is given. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
model=$root/results/models/tiny-olmoe-2k

cat >texts.jsonl <<'EOF'
{"text": "The cat sat on the mat and looked at the dog."}
{"text": "def add(a, b):\n    return a + b\n"}
{"text": "Question: What is 2 + 3?\nAnswer: 2 + 3 = <<2+3=5>>5\n#### 5"}
{"text": "Once upon a time there was a small house at the edge of a wood."}
{"text": "Use `--help` to print the options, and `--version` for the version."}
EOF
recipe() { # MODELS K ROUTERS TASKS [MORE]
    printf 'return sweep { name = "t", models = %s, K = %s, routers = { %s }, tasks = { %s }, %s }\n' \
        "$1" "$2" "$3" "$4" "${5:-}"
}
all='topk(), seqtopk { mode = "global" }, seqtopk { mode = "global", min = 0, max = N },
    seqtopk { mode = "online" }, seqtopk { mode = "strict", min = 0, max = N }, batchtopk { batch = 2 }'
text='nll { file = "texts.jsonl" }'
recipe "'$model'" '{ 4, 2 }' "$all" "$text" >all.lua
recipe "'$model'" 2 'topk()' "$text" >one.lua
sql() { sqlite3 -bail "$1" "$2"; }

# ---- what a sweep leaves ----

whole_run() {
    gives 0 "$seqtopk" run all.lua --db a.db && grep -qx a.db out &&
        grep -q 't: 12 cells computed, 0 in the database already, 0 failed' err &&
        [ "$(sql a.db "SELECT count(*) FROM v_cells WHERE status = 'done'")" = 12 ] &&
        [ "$(sql a.db 'SELECT count(*) FROM v_samples')" = 60 ]
}
# Columns as promised, in their order.
views() {
    for v in "v_cells cell_id,sweep,model,router,mode,k,min,max,params,train,task,seed,device,dtype,status,error,started,seconds,note" \
        "v_metrics cell_id,metric,value,stderr,n" \
        "v_samples cell_id,doc,prompt_tokens,output_tokens,stop_reason,nll,nll_tokens,output,extracted,score,error" \
        "v_tokens cell_id,doc,pos,token_id,token,nll,entropy,experts,experts_by_layer" \
        "v_entropy_bins cell_id,layer,bin,entropy_lo,entropy_hi,tokens,experts_mean,experts_sd" \
        "v_expert_load cell_id,layer,expert,tokens,weight,entropy" \
        "v_position_bins cell_id,bin,pos_lo,pos_hi,tokens,scored,nll_mean,nll_se,experts_mean,experts_se,used_share,differ" \
        "v_token_kinds cell_id,kind,tokens,experts_mean,experts_se,entropy_mean,entropy_se"; do
        [ "$(sql a.db "SELECT group_concat(name) FROM pragma_table_info('${v%% *}')")" = "${v#* }" ] ||
            { echo "${v%% *}" >>err; return 1; }
        [ "$(sql a.db "SELECT count(*) > 0 FROM ${v%% *}")" = 1 ] || return 1
    done
}
# What is compared: the same router is all the same, and entropies of experts add up to the tokens'.
compared() {
    recipe "'$model'" 2 "topk(), batchtopk { batch = 2 }" "$text" \
        'log = { expert_entropy = true, overlap = { topk(), seqtopk { mode = "online" } } }' >compared.lua
    gives 0 "$seqtopk" run compared.lua --db compared.db &&
        [ "$(sql compared.db "SELECT group_concat(value = 1) FROM (SELECT value FROM v_metrics JOIN v_cells
            USING (cell_id) WHERE metric LIKE 'overlap_topk%' ORDER BY router DESC, metric)")" = 1,1,1,1,1,0,0,0,0,0 ] &&
        [ "$(sql compared.db "SELECT count(*) FROM v_overlap")" = 80 ] &&
        [ "$(sql compared.db "SELECT sum(abs(e - h) < 1e-3) FROM (SELECT layer, sum(l.entropy * l.tokens) AS e,
            (SELECT 2 * sum(entropy) FROM v_tokens WHERE cell_id = l.cell_id) AS h FROM v_expert_load AS l JOIN v_cells
            USING (cell_id) WHERE router = 'topk' GROUP BY layer)")" = 4 ]
}
# In every layer and cell: pairs against K x tokens.
budget() { # CONDITION COMPARISON
    [ "$(sql a.db "WITH used AS (SELECT cell_id, layer, sum(tokens) AS pairs FROM v_expert_load GROUP BY 1, 2),
        length AS (SELECT cell_id, count(*) AS tokens FROM v_tokens GROUP BY 1)
        SELECT count(*) > 0 AND min(pairs $2 k * tokens) FROM used JOIN length USING (cell_id)
        JOIN v_cells USING (cell_id) WHERE $1")" = 1 ]
}
global_budget() { budget "mode = 'global' OR router IN ('topk', 'batchtopk')" '='; }
strict_budget() { budget "mode = 'strict'" '<='; }
first_token() {
    [ "$(sql a.db 'SELECT count(*) = sum(nll IS NULL) FROM v_tokens WHERE pos = 0')" = 1 ] &&
        [ "$(sql a.db 'SELECT sum(nll IS NULL OR entropy IS NULL) FROM v_tokens WHERE pos > 0')" = 0 ] &&
        [ "$(sql a.db "SELECT group_concat(token, '') FROM (SELECT token FROM v_tokens WHERE doc = 0 AND
            cell_id = (SELECT min(cell_id) FROM v_cells) ORDER BY pos)")" = "The cat sat on the mat and looked at the dog." ]
}
sums_agree() {
    [ "$(sql a.db 'SELECT max(abs(s.nll - t.nll)) < 1e-4 AND min(s.nll_tokens = t.n) FROM v_samples s JOIN
        (SELECT cell_id, doc, sum(nll) AS nll, count(nll) AS n FROM v_tokens GROUP BY 1, 2) t USING (cell_id, doc)')" = 1 ]
}
again() {
    gives 0 "$seqtopk" run all.lua --db a.db && grep -q '0 cells computed, 12 in the database' err
}
dump() { sql "$1" "SELECT * FROM v_tokens ORDER BY cell_id, doc, pos; SELECT * FROM v_metrics ORDER BY 1, 2"; }
one_thread() {
    gives 0 "$seqtopk" run all.lua --db b.db --threads 1 && dump a.db >a.txt && dump b.db >b.txt && cmp a.txt b.txt
}
# As if it had been stopped: some samples and all summaries gone, one cell without any.
resumes() {
    cp a.db c.db && sql c.db "DELETE FROM token WHERE doc >= 2; DELETE FROM sample WHERE doc >= 2;
        DELETE FROM metric; DELETE FROM entropy_bin; DELETE FROM histogram; DELETE FROM expert_load;
        UPDATE cell SET status = 'unfinished', samples = 2;" &&
        gives 0 "$seqtopk" run all.lua --db c.db && grep -q '12 cells computed' err &&
        sql a.db 'SELECT cell_id, doc, pos, nll, experts_by_layer FROM v_tokens ORDER BY 1, 2, 3' >a.txt &&
        sql c.db 'SELECT cell_id, doc, pos, nll, experts_by_layer FROM v_tokens ORDER BY 1, 2, 3' >c.txt && cmp a.txt c.txt
}
interrupted() {
    for i in 1 2 3 4 5 6 7 8 9 10; do cat texts.jsonl texts.jsonl texts.jsonl texts.jsonl; done >many.jsonl
    recipe "'$model'" '{ 8, 4, 2 }' "$all" 'nll { file = "many.jsonl" }' >many.lua
    "$seqtopk" run many.lua --db i.db >out 2>err &
    pid=$!
    i=0
    until [ "$(sqlite3 i.db 'SELECT count(*) > 5 FROM v_samples' 2>/dev/null)" = 1 ]; do
        i=$((i + 1))
        [ $i -lt 300 ] && sleep 0.05 || return 1
    done
    kill -INT $pid
    wait $pid
    [ $? -eq 130 ] && grep -q 'interrupted, run it again' err && [ "$(sql i.db 'PRAGMA integrity_check')" = ok ] &&
        [ "$(sql i.db "SELECT count(*) FROM v_cells WHERE status = 'unfinished'")" -gt 0 ] &&
        gives 0 "$seqtopk" run many.lua --db i.db &&
        [ "$(sql i.db "SELECT count(*) || min(status) FROM v_cells")" = 18done ] &&
        [ "$(sql i.db "SELECT count(*) FROM v_samples")" = 3600 ]
}
without_tokens() {
    recipe "'$model'" 2 'topk()' "$text" 'log = { tokens = "none" }' >none.lua
    gives 0 "$seqtopk" run none.lua --db n.db && [ "$(sql n.db 'SELECT count(*) FROM v_tokens')" = 0 ] &&
        [ "$(sql n.db "SELECT count(*) FROM v_metrics WHERE metric = 'nll' AND value > 0")" = 1 ] &&
        [ "$(sql n.db "SELECT count(*) FROM v_metrics WHERE metric = 'spearman'")" = 0 ]
}
limited() {
    gives 0 "$seqtopk" run one.lua --db l.db --limit 2 && [ "$(sql l.db 'SELECT count(*) FROM v_samples')" = 2 ]
}
truncated() {
    { cat texts.jsonl; printf '{"text": "%s"}\n' "$(yes 'one two three' | head -1200 | tr '\n' ' ')"; } >long.jsonl
    recipe "'$model'" 2 'topk()' 'nll { file = "long.jsonl", truncate = true }' >long.lua
    gives 0 "$seqtopk" run long.lua --db t.db && grep -q "1 document was cut to fit the model's context" err &&
        [ "$(sql t.db "SELECT value FROM v_metrics WHERE metric = 'cut'")" = 1.0 ] &&
        [ "$(sql t.db 'SELECT count(*) FROM v_tokens WHERE doc = 5')" = 2048 ]
}
gsm8k() {
    printf '%s\n' '{"question": "What is 2 + 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}' >problem.jsonl
    recipe "'$model'" 2 'topk()' 'task { "gsm8k/nll", file = "problem.jsonl" }' >gsm8k.lua
    gives 0 "$seqtopk" run gsm8k.lua --db g.db &&
        # The loss is of the answer's tokens: those behind the prompt.
        [ "$(sql g.db 'SELECT s.nll_tokens + s.prompt_tokens = count(*) AND s.nll_tokens < count(*) - 5
            AND abs(s.nll - sum(t.nll) FILTER (WHERE t.pos >= s.prompt_tokens)) < 1e-4
            FROM v_samples s JOIN v_tokens t USING (cell_id, doc)')" = 1 ]
}

check "a sweep computes every cell and says where" whole_run
check "the views have the promised columns" views
check "selections are compared with other routers', and experts have the entropies of their tokens" compared
check "global, topk and batchtopk use exactly K x tokens in every layer" global_budget
check "strict never uses more" strict_budget
check "the first token has no loss, and the tokens spell the text" first_token
check "a sample's loss is the sum of its tokens'" sums_agree
check "what is done is not computed again" again
check "one thread and several write the same numbers" one_thread
check "a run that was stopped goes on from its samples" resumes
check "Ctrl-C commits what is under way, and the next run finishes it" interrupted
check "without token logging there are losses and no made-up zeros" without_tokens
check "--limit takes the first documents" limited
check "truncate cuts and counts" truncated
check "gsm8k/nll scores the answer given the question" gsm8k

# ---- bad input: one sentence, the file's name, no cell that looks whole ----

no_db() { [ ! -e x.db ]; }
refused() { # WORDS
    rm -f x.db
    fails 1 "$1" "$seqtopk" plan bad.lua && fails 1 "$1" "$seqtopk" run bad.lua --db x.db && no_db
}
bad_text() { # LINE WORDS
    printf '{"text": "A good line of text."}\n%b\n' "$1" >bad.jsonl
    recipe "'$model'" 2 'topk()' 'nll { file = "bad.jsonl" }' >bad.lua
    refused "$2"
}
bad_mark() {
    printf '\357\273\277{"text": "A good line of text."}\n' >bad.jsonl
    recipe "'$model'" 2 'topk()' 'nll { file = "bad.jsonl" }' >bad.lua
    refused 'bad.jsonl:1: begins with a byte order mark'
}
check "an empty text is refused by line" bad_text '{"text": ""}' 'bad.jsonl:2'
check "a text of one token is refused by line" bad_text '{"text": "a"}' 'bad.jsonl:2'
check "a line that is no JSON is refused" bad_text '{"text": ' 'bad.jsonl:2'
check "a line without the field is refused" bad_text '{"txt": "a b"}' 'bad.jsonl:2'
check "a byte order mark is named" bad_mark
check "invalid UTF-8 is refused" bad_text '{"text": "a \\0377 b"}' 'bad.jsonl:2'
check "too long a text is refused by line" \
    bad_text "{\"text\": \"$(yes 'one two three' | head -1200 | tr '\n' ' ')\"}" 'truncate = true'

# A copy of the model with something wrong in it.
bad_model() { # WORDS COMMAND...: the command runs in the copy
    words=$1
    shift
    rm -rf m && cp -rL "$model" m && (cd m && "$@") >out 2>err || return 1
    recipe "'m'" 2 'topk()' "$text" >bad.lua
    refused "$words"
}
cut_short() { truncate -s 1000000 model.safetensors; }
long_header() { printf '\377\377\377\377\377\377\377\177' | dd of=model.safetensors conv=notrunc 2>/dev/null; }
no_shard() {
    mv model.safetensors model-00001-of-00002.safetensors
    {
        echo '{"metadata": {}, "weight_map": {'
        head -c 100000 model-00001-of-00002.safetensors | grep -ao '"model\.[^"]*"' | sed 's/$/: "model-00001-of-00002.safetensors",/'
        echo '"model.norm.weight": "model-00002-of-00002.safetensors"}}'
    } >model.safetensors.index.json
    sed -i '/^"model.norm.weight.*00001/d' model.safetensors.index.json
}
other_tokenizer() { sed -i 's/"type": *"BPE"/"type":"Unigram"/' tokenizer.json; }
no_tensor() { sed -i 's/model.norm.weight/model.nurm.weight/' model.safetensors; }
more_experts() { sed -i 's/"num_experts": 64/"num_experts": 65/' config.json; }
other_family() { sed -i 's/"model_type": "olmoe"/"model_type": "llama"/' config.json; }
check "weights cut short are refused by file" bad_model 'm/model.safetensors' cut_short
check "a header longer than its file is refused" bad_model 'm/model.safetensors' long_header
check "a missing shard is named" bad_model 'model-00002-of-00002.safetensors' no_shard
check "a tokenizer of another kind is refused" bad_model 'm/tokenizer.json' other_tokenizer
check "a tensor of another shape is named" bad_model 'mlp.gate.weight.* config.json makes it \[65, 256\]' more_experts
more_tokens() {
    awk '{ print } /"added_tokens": \[/ { n = 1 } n && /^    },?$/ && ++k == 2 { exit }' tokenizer.json >t &&
        sed -i '$s/}/},/' t && printf '    {"id": 8192, "content": "<x>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}\n' >>t &&
        awk 'n && k >= 2 { print } /"added_tokens": \[/ { n = 1 } n && /^    },?$/ { k++ }' tokenizer.json >>t && mv t tokenizer.json
}
check "a tokenizer with more tokens than the model is refused" bad_model "it has 8193 tokens, and the model's vocabulary is 8192" more_tokens
check "a missing tensor is named" bad_model 'model.norm.weight' no_tensor
check "an unknown family is refused with those there are" bad_model 'llama' other_family

# NaN is found as the weights are read: the cell fails, with the tensor's name.
nan_weights() {
    rm -rf m x.db && cp -rL "$model" m && recipe "'m'" 2 'topk()' "$text" >bad.lua || return 1
    # 0x7fff is NaN in bfloat16, anywhere in the last bytes of the file.
    size=$(stat -c %s m/model.safetensors)
    printf '\377\177' | dd of=m/model.safetensors bs=1 seek=$((size - 64)) conv=notrunc 2>/dev/null
    gives 1 "$seqtopk" run bad.lua --db x.db && grep -q '1 failed' err &&
        sql x.db 'SELECT status, error FROM v_cells' | grep -q 'failed|m/model.safetensors.*tensor .* NaN' &&
        grep -q '^seqtopk: 1 of 1 cells failed; the first: m/model.safetensors.*NaN or infinite' err
}
check "NaN weights fail the cell with file and tensor" nan_weights

printf 'not a database, and longer than a header would be, so that it is read as one ........................' >x.txt
check "a file that is no database is refused" fails 1 "x.txt" "$seqtopk" run one.lua --db x.txt
other_db() { sqlite3 other.db 'CREATE TABLE t (a)' && fails 1 "other.db" "$seqtopk" run one.lua --db other.db; }
check "a database of another program is refused" other_db
newer_db() {
    cp a.db newer.db && sqlite3 newer.db 'PRAGMA user_version = 99' && fails 1 "newer.db" "$seqtopk" run one.lua --db newer.db
}
check "a database of a newer version is refused" newer_db
check "a folder that is not there is named" fails 1 "nowhere/x.db" "$seqtopk" run one.lua --db nowhere/x.db
full_disk() {
    mkdir -p full && mount -t tmpfs -o size=300k tmpfs full 2>/dev/null || return 2
    gives 1 "$seqtopk" run all.lua --db full/x.db
    ok=$?
    [ "$(sqlite3 full/x.db 'PRAGMA integrity_check' 2>&1)" = ok ] || ok=1
    grep -q 'full/x.db' err || ok=1
    umount full
    return $ok
}
if mkdir -p probe && mount -t tmpfs -o size=16k tmpfs probe 2>/dev/null; then
    umount probe
    check "a full disk is named, and the database stays sound" full_disk
else
    skip "a full disk is named, and the database stays sound" "no right to mount a small disk here"
fi
removed() {
    "$seqtopk" run many.lua --db r.db >out 2>err &
    pid=$!
    i=0
    until [ "$(sqlite3 r.db 'SELECT count(*) > 5 FROM v_samples' 2>/dev/null)" = 1 ]; do
        i=$((i + 1))
        [ $i -lt 300 ] && sleep 0.05 || return 1
    done
    rm -f r.db r.db-wal r.db-shm
    wait $pid
    [ $? -eq 1 ] && grep -q 'r.db: was removed or replaced' err && [ ! -s out ]
}
seeds() {
    recipe "'$model'" 2 'topk()' "$text" 'seeds = { 1, 2 }' >seeds.lua
    gives 0 "$seqtopk" plan seeds.lua && grep -q 'warning: cells that differ in the seed alone give the same' err &&
        gives 0 "$seqtopk" plan one.lua && ! grep -q warning err
}
check "seeds that change nothing are warned of" seeds
check "a database that is removed under a run is noticed" removed
second_run() {
    "$seqtopk" run many.lua --db s.db >first.out 2>first.err &
    pid=$!
    i=0
    until [ "$(sqlite3 s.db 'SELECT count(*) > 5 FROM v_samples' 2>/dev/null)" = 1 ]; do
        i=$((i + 1))
        [ $i -lt 300 ] && sleep 0.05 || return 1
    done
    fails 1 's.db: another run is at work on it' "$seqtopk" run many.lua --db s.db
    ok=$?
    kill -INT $pid
    wait $pid
    return $ok
}
check "a second run on one database is refused at once" second_run
partial_figures() {
    gives 0 "$seqtopk" plot i.db --out f1 --where "k = 2" && [ ! -s err ] &&
        sql i.db "UPDATE cell SET status = 'unfinished' WHERE k = 2 AND router = 'topk'" &&
        gives 0 "$seqtopk" plot i.db --out f2 --where "k = 2" && grep -q '1 of 6 cells are not done' err
}
if command -v gnuplot >/dev/null; then
    check "figures of an unfinished sweep say so" partial_figures
else
    skip "figures of an unfinished sweep say so" "no gnuplot"
fi
beside() {
    mkdir -p deep/here && cp -rL "$model" deep/here/net && cp texts.jsonl deep/here/ &&
        recipe "'net'" 2 'topk()' "$text" >deep/here/r.lua && gives 0 "$seqtopk" run deep/here/r.lua --db deep.db
}
check "a model beside its recipe is found" beside
mkfifo pipe
check "a pipe is not waited for" fails 1 "pipe: a device or a pipe" timeout 5 "$seqtopk" run pipe
check "too many threads are refused before anything is made" \
    fails 2 "at most 1024" "$seqtopk" run one.lua --db never.db --threads 5000
check "no GPU, no database" fails 1 "cuda:99" "$seqtopk" run one.lua --db never.db --device cuda:99
# Debian's libtorch has no products in float16 on a CPU; where one has, there is nothing to refuse.
float16() {
    "$seqtopk" run one.lua --db half.db --dtype float16 >out 2>err && return 0
    fails 1 "cannot compute in float16 on 'cpu'" "$seqtopk" run one.lua --db never.db --dtype float16
}
check "a format that cannot be computed is refused" float16
check "nothing was made" test ! -e never.db
check "an unknown device is refused" fails 1 "device" "$seqtopk" run one.lua --db x.db --device tpu
check "an unknown option is refused with the usage" fails 2 "--frobnicate" "$seqtopk" run one.lua --frobnicate
check "a recipe that is not there is named" fails 1 "nonesuch.lua" "$seqtopk" run nonesuch.lua
check "no recipe at all is wrong usage" fails 2 "run" "$seqtopk" run
plan
