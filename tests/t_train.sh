#!/bin/sh
# train, and run with training in it, end to end: a small model made from nothing, then trained on in
# sweeps; what is shared, found again, interrupted, refused. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
unset SEQTOPK_TRAINED
sql() { sqlite3 -bail "$1" "$2"; }
# In the place of results/trained.
trained() { SEQTOPK_TRAINED=$1 && export SEQTOPK_TRAINED; }
folders() { find results/trained -mindepth 1 -maxdepth 1 -type d | wc -l; }

for i in $(seq 60); do
    echo "{\"s\": \"a\", \"t\": \"The cat number $i sat on the mat and looked at the dog.\"}"
    echo "{\"s\": \"b\", \"t\": \"What is $i plus one? It is $((i + 1)), and that is all there is to it.\"}"
done >texts.jsonl
for i in 1 2 3 4 5 6 7 8; do
    echo "{\"q\": \"What is $i plus one?\", \"a\": \"$((i + 1))\"}"
done >sums.jsonl
printf '{"text": "What is 3 plus one? 4"}\n{"text": "What is 5 plus one? 6"}\n' >score.jsonl

pretrain() { # NAME MORE
    cat <<END
return pretrain {
  name = "$1", model = { family = "olmoe", layers = 2, hidden = 32, heads = 2, experts = 8, top_k = 2,
    expert_ffn = 16, context = 64 },
  data = { file = "texts.jsonl", text = "t", source = "s", held_out = 0.1 }, batch = 8, steps = 40, lr = 3e-3,
  tokenizer = { vocab = 320 }, $2 }
END
}
three='topk(), seqtopk { mode = "online" }, seqtopk()'
sweep() { # TRAIN [ROUTERS]
    cat <<END
local data = { file = "sums.jsonl", prompt = "{q}", completion = " {a}" }
local bad = router { name = "bad", select = function() return {} end }
return sweep { name = "t", models = "tiny", K = 2, tasks = nll { file = "score.jsonl" },
  routers = { ${2:-$three} },
  train = { $1 } }
END
}

# ---- from nothing ----

pretrain tiny 'router = seqtopk(), balance_loss = 0.01, out = "tiny/"' >p.lua
planned() {
    gives 0 "$seqtopk" plan p.lua && says "^[0-9a-f]\{12\}  *tiny  *seqtopk global \[1, 4\]  *2  *0  *$1  *pretrain texts.jsonl" &&
        [ "$(wc -l <out)" -eq 2 ]
}
from_nothing() {
    planned 'to be made' && [ ! -e results ] && gives 0 "$seqtopk" train p.lua --db p.db && [ "$(cat out)" = tiny ] &&
        [ "$(cat err)" = 'tiny: the model was trained' ] && [ "$(ls tiny)" = "config.json
model.safetensors
tokenizer.json
training.json" ] && [ "$(folders)" = 1 ] && planned there
}
nothing_is_left() {
    ls -A results/trained . >out
    [ "$(find results/trained -name '*.base' -o -name '*.state*' -o -name '*.tmp' | wc -l)" = 0 ] && [ ! -e tiny.tmp ]
}
losses() {
    [ "$(sql p.db "SELECT count(*) || ' ' || (max(loss) FILTER (WHERE step = 1) > 1 + max(loss) FILTER (WHERE step = 40))
        FROM v_training_steps JOIN v_trainings USING (training_id) WHERE sweep = 'tiny' AND model = 'tiny'")" = '40 1' ] &&
        [ "$(sql p.db "SELECT group_concat(DISTINCT source) FROM v_training_heldout")" = a,b ] &&
        [ "$(sql p.db "SELECT count(DISTINCT step) FROM v_training_heldout")" = 10 ]
}
found_again() {
    stat -c '%Y %i' tiny/model.safetensors >before && gives 0 "$seqtopk" train p.lua --db p.db && [ "$(cat out)" = tiny ] &&
        [ "$(cat err)" = 'tiny: it was there already' ] && stat -c '%Y %i' tiny/model.safetensors | cmp - before
}
copied_again() {
    rm -r tiny && gives 0 "$seqtopk" train p.lua --db p.db && cmp tiny/model.safetensors results/trained/*/model.safetensors
}
is_a_model() {
    gives 0 "$seqtopk" generate 'The cat' --model tiny --max-tokens 4 && gives 0 "$seqtopk" tokenize tiny 'What is 3 plus one?'
}
other_out() {
    pretrain tiny 'seed = 3, out = "tiny"' >other.lua
    fails 1 'other.lua:5: pretrain.out: tiny is there already, and is another model; remove it, or name another folder' \
        "$seqtopk" train other.lua --db x.db && [ ! -e x.db ] && [ "$(folders)" = 1 ]
}
damaged_copy() {
    cp -r tiny kept && head -c 1000 kept/model.safetensors >tiny/model.safetensors
    fails 1 'tiny/model.safetensors: its 1000 bytes are not those that training.json says; .* remove the folder' "$seqtopk" train p.lua --db p.db
    set -- $?
    rm -r tiny && mv kept tiny
    return "$1"
}
# By threads and place nothing changes.
same_anywhere() {
    trained elsewhere
    sed 's/, out = .*/ }/' p.lua >q.lua
    gives 0 "$seqtopk" train q.lua --db q.db --threads 1 && cmp elsewhere/*/model.safetensors results/trained/*/model.safetensors
    set -- $?
    unset SEQTOPK_TRAINED
    return "$1"
}
# Two programs that begin at once do not write into one folder.
waits_for_another() {
    trained busy
    mkdir busy
    id=$(basename elsewhere/*/)
    (
        flock 9
        touch held
        until [ -e go ]; do sleep 0.02; done
    ) 9>"busy/$id.base.lock" &
    until [ -e held ]; do sleep 0.02; done
    "$seqtopk" train q.lua --db w.db >out 2>err &
    pid=$!
    i=0
    until grep -q "another program makes $id.base; it is waited for" err; do
        i=$((i + 1))
        if [ $i -ge 500 ] || ! kill -0 $pid 2>/dev/null; then break; fi
        sleep 0.02
    done
    waited=$(ls -d "busy/$id.base" 2>&1)
    touch go
    wait $pid && [ ! -e "busy/$id.base.lock" ] && [ ! -e "busy/$id.base" ] && grep -q "it is waited for" err &&
        [ "$waited" != "busy/$id.base" ] && cmp busy/*/model.safetensors elsewhere/*/model.safetensors
    set -- $?
    unset SEQTOPK_TRAINED
    return "$1"
}
# Two that end at once do not both copy the model to one place.
copies_once() {
    trained busy
    rm -rf held go copied && sed 's/out = "tiny.*"/out = "copied"/' p.lua >c.lua
    (
        flock 9
        touch held
        until [ -e go ]; do sleep 0.02; done
    ) 9>copied.lock &
    until [ -e held ]; do sleep 0.02; done
    "$seqtopk" train c.lua --db w.db >out 2>err &
    pid=$!
    i=0
    until grep -q 'another program makes copied; it is waited for' err; do
        i=$((i + 1))
        if [ $i -ge 500 ] || ! kill -0 $pid 2>/dev/null; then break; fi
        sleep 0.02
    done
    [ -e copied ] || cp -r tiny copied
    stat -c %i copied >before
    touch go
    wait $pid && [ "$(cat out)" = copied ] && stat -c %i copied | cmp - before && [ ! -e copied.lock ] && [ ! -e copied.tmp ]
    set -- $?
    unset SEQTOPK_TRAINED
    return "$1"
}
given_tokenizer() {
    pretrain given 'seed = 1' | sed 's/tokenizer = { vocab = 320 }/tokenizer = "tiny"/' >given.lua
    gives 0 "$seqtopk" train given.lua --db g.db && says '^results/trained/[0-9a-f]\{32\}$' &&
        cmp tiny/tokenizer.json "$(cat out)/tokenizer.json" && rm -r "$(cat out)"
}
# The documents that are held out, as a file: it is written over, but never what it is made of.
held_out() {
    gives 0 "$seqtopk" train p.lua --held-out held.jsonl && [ "$(cat out)" = held.jsonl ] &&
        grep -q "^tiny: $(wc -l <held.jsonl) documents are held out\$" err && [ "$(wc -l <held.jsonl)" -gt 1 ] && [ "$(wc -l <held.jsonl)" -lt 40 ] &&
        sed 's/.*"text":"\(.*\)"}$/"t": "\1"}/' held.jsonl | while read -r line; do
            grep -qF "$line" texts.jsonl || exit 1
        done && cp held.jsonl before && gives 0 "$seqtopk" train p.lua --held-out held.jsonl && cmp held.jsonl before
}
not_over_its_data() {
    cp texts.jsonl before && ln -sf texts.jsonl link && for file in texts.jsonl ./texts.jsonl link p.lua; do
        fails 1 "p.lua: $file is the recipe, or what it trains on, and would be written over; name another file" \
            "$seqtopk" train p.lua --held-out "$file" || return 1
    done && cmp texts.jsonl before && mkfifo pipe && fails 1 'p.lua: pipe is no file that can be written over' \
        "$seqtopk" train p.lua --held-out pipe && [ -p pipe ]
}
refuse_pretrain() { # CHANGE WORDS
    sed "$1; s/, out = .*/ }/" p.lua >bad.lua
    rm -f x.db
    fails 1 "$2" "$seqtopk" train bad.lua --db x.db && [ ! -e "${3:-x.db}" ]
}

check "a model is made from nothing, copied, and planned as there" from_nothing
check "and nothing but it and its tokenizer is left" nothing_is_left
check "its losses and those of what is held out are in the database, and fall" losses
check "it is made once" found_again
check "what is held out can be written" held_out
check "and goes with no option of a training" fails 2 'train: --held-out writes texts and trains nothing; other options do not go with it' \
    "$seqtopk" train p.lua --held-out held.jsonl --threads 2
check "but not over the data or the recipe" not_over_its_data
check "a copy that was removed is made again" copied_again
check "a copy that is not whole is refused" damaged_copy
check "what was made is a model like any other" is_a_model
check "a folder with another model is not written over" other_out
check "one thread and several make the same bytes" same_anywhere
check "what another program is making is waited for" waits_for_another
check "a copy that another program makes is waited for" copies_once
check "a tokenizer that is there is taken" given_tokenizer
check "a tokenizer that is not there is refused" refuse_pretrain 's/{ vocab = 320 }/"nope"/' \
    'bad.lua:5: pretrain.tokenizer: nope: no tokenizer.json there, and no model of that name'
check "an end that a trained tokenizer will not have is refused" refuse_pretrain 's/batch = 8/batch = 8, end_text = "The"/' \
    'bad.lua:4: pretrain.end_text: "The" is no special token of a tokenizer that is trained; allowed is "<|endoftext|>"'
check "an end that is no special token of the given one is refused" refuse_pretrain \
    's/batch = 8/batch = 8, end_text = "The"/; s/{ vocab = 320 }/"tiny"/' \
    'bad.lua:4: pretrain.end_text: "The" is no special token of tiny/tokenizer.json; allowed is one that it has' /nowhere
check "a model of one position is refused" refuse_pretrain 's/context = 64/context = 1/' \
    'bad.lua:3: model.context: 1; allowed is a whole number from 2 to'
check "data that are not there are refused" refuse_pretrain 's/texts.jsonl/none.jsonl/' 'none.jsonl: no such file'
check "more positions than the model has are refused" refuse_pretrain 's/batch = 8/length = 65/' \
    'bad.lua:4: pretrain.length: 65; allowed is 2 to the 64 positions of model tiny'
# shellcheck disable=SC2016
check "a sweep is not pretrain" fails 1 'p.lua:1: the recipe returns pretrain { ... }, which `seqtopk train` takes' "$seqtopk" run p.lua
check "--limit does not go with pretrain" fails 1 'go with a sweep' "$seqtopk" plan p.lua --limit 1
check "a word that is no device is refused in plan" fails 1 '--device banana: allowed is cpu, cuda or cuda:NUMBER' "$seqtopk" plan p.lua --device banana
check "nor does --model" fails 1 'pretrain { ... } makes its model from nothing' "$seqtopk" train p.lua --model tiny

# ---- in a sweep ----

sweep 'none(), sft { data = data, steps = 30, lr = 3e-3, loss_on = "all", batch = 8 }' >s.lua
sweep_planned() {
    gives 0 "$seqtopk" plan s.lua && says 'topk .*  none  *nll:score.jsonl' \
        'online .*  sft sums.jsonl 30 steps lr 0.003 batch 8 loss_on all  *nll:score.jsonl' \
        '^[0-9a-f]\{12\}  *tiny  *topk  *2  *0  *to be made  *sft' '  seqtopk global \[1, 4\]  *2  *0  *to be made  ' &&
        grep -q '^t: 2 models to be trained, 0 there already$' err && [ "$(grep -c 'to be made' out)" = 2 ]
}
sweep_run() {
    gives 0 "$seqtopk" run s.lua --db s.db && grep -q '6 cells computed, 0 in the database already, 0 failed; 2 models were trained' err &&
        [ "$(folders)" = 3 ] && gives 0 "$seqtopk" plan s.lua && grep -q '0 models to be trained, 2 there already' err
}
it_learnt() {
    [ "$(sql s.db "SELECT count(*) FROM
        (SELECT router, mode, value AS nll FROM v_cells JOIN v_metrics USING (cell_id) WHERE metric = 'nll' AND train = 'none') n JOIN
        (SELECT router, mode, value AS nll FROM v_cells JOIN v_metrics USING (cell_id) WHERE metric = 'nll' AND train LIKE 'sft%') t
        ON n.router = t.router AND n.mode IS t.mode WHERE t.nll < n.nll - 0.5")" = 3 ] &&
        [ "$(sql s.db "SELECT count(*) || ' ' || count(DISTINCT training_id) FROM v_training_steps")" = '60 2' ]
}
another_database() {
    gives 0 "$seqtopk" run s.lua --db s2.db && grep -q '6 cells computed, 0 in the database already, 0 failed$' err &&
        sql s.db 'SELECT cell_id, metric, value FROM v_metrics ORDER BY 1, 2' >a.txt &&
        sql s2.db 'SELECT cell_id, metric, value FROM v_metrics ORDER BY 1, 2' >b.txt && cmp a.txt b.txt && [ -s a.txt ]
}
# Once every cell is done, the trained model is not needed.
done_cells() {
    trained gone
    gives 0 "$seqtopk" run s.lua --db s.db && grep -q '0 cells computed, 6 in the database already' err && [ ! -e gone ]
    set -- $?
    unset SEQTOPK_TRAINED
    return "$1"
}
train_alone() {
    trained alone
    gives 0 "$seqtopk" train s.lua --db a.db && grep -q '^t: 2 models trained, 0 there already, 0 failed$' err &&
        [ "$(wc -l <out)" = 2 ] && says '^alone/[0-9a-f]\{32\}$' && [ "$(sql a.db 'SELECT count(*) FROM v_cells')" = 0 ] &&
        cp out first && gives 0 "$seqtopk" train s.lua --db a.db && cmp out first && grep -q '^t: 0 models trained, 2 there already' err &&
        while IFS=/ read -r _ id; do
            cmp "alone/$id/model.safetensors" "results/trained/$id/model.safetensors" || return 1
        done <first
    set -- $?
    unset SEQTOPK_TRAINED
    return "$1"
}
thresholds() {
    sweep 'sft { data = data, steps = 3, lr = 0, batch = 8 }' 'threshold()' >th.lua
    gives 0 "$seqtopk" run th.lua --db th.db && grep -q '1 cell computed.*1 model was trained' err &&
        [ "$(sql th.db "SELECT value > 0.5 AND value < 4 FROM v_metrics WHERE metric = 'experts'")" = 1 ] &&
        model=$(dirname "$(ls results/trained/*/cutoffs.json)") &&
        cmp tiny/model.safetensors "$model/model.safetensors" &&
        printf 'return sweep { name = "u", models = "%s", K = %s, tasks = nll { file = "score.jsonl" }, routers = threshold() }' "$model" 2 >u.lua &&
        gives 0 "$seqtopk" run u.lua --db th.db &&
        [ "$(sql th.db "SELECT count(DISTINCT value) FROM v_metrics WHERE metric = 'nll'")" = 1 ] &&
        sed -i 's/K = 2/K = 3/' u.lua && fails 1 'were learnt with K = 2 and hold for it alone, not for K = 3' "$seqtopk" plan u.lua
}
failing() {
    sweep 'none(), sft { data = data, steps = 2, lr = 0, router = bad }' >f.lua
    gives 1 "$seqtopk" run f.lua --db f.db && grep -q '3 of 6 cells failed; the first: tiny, sft sums.jsonl 2 steps [^:]*: in step 1 layer 0: f.lua:[0-9]*: router "bad"' err &&
        [ "$(sql f.db "SELECT group_concat(DISTINCT train || ' ' || status) FROM v_cells ORDER BY 1")" = \
            'none done,sft sums.jsonl 2 steps lr 0 router bad failed' ] &&
        gives 1 "$seqtopk" train f.lua --db f2.db && grep -q '1 training failed; the first: tiny, sft sums.jsonl 2 steps [^:]*: in step 1 layer 0: f.lua:[0-9]*: router "bad"' err && [ ! -s out ] &&
        sweep 'sft { data = data, steps = 2, lr = 0, router = bad }, sft { data = data, steps = 3, lr = 0, router = bad }' >f.lua &&
        gives 1 "$seqtopk" train f.lua --db f2.db && grep -q 'seqtopk: warning: tiny, sft sums.jsonl 3 steps [^:]*: in step 1 layer 0: ' err &&
        grep -q '2 trainings failed; the first: tiny, sft sums.jsonl 2 steps ' err
}
damaged() {
    model=results/trained/$(sql s.db 'SELECT min(training_id) FROM v_trainings')
    cp "$model/model.safetensors" whole && head -c 1000 whole >"$model/model.safetensors"
    for command in plan run train; do
        fails 1 "$model" "$seqtopk" $command s.lua || return 1
    done
    cp whole "$model/model.safetensors"
}
no_place() {
    echo >file
    trained file/in
    fails 1 'file/in/.*: Not a directory' "$seqtopk" train s.lua --db n.db
    set -- $?
    unset SEQTOPK_TRAINED
    return "$1"
}

check "plan tells each training and what is to be made" sweep_planned
check "a sweep trains what its cells need, once for all modes" sweep_run
check "what was trained is scored, and has learnt" it_learnt
check "another database finds the same models" another_database
check "cells that are done need no model" done_cells
check "train makes the models alone, and the same ones" train_alone
check "thresholds are learnt, used, and found with the model, for their K alone" thresholds
check "a training that fails fails its cells, and the others go on" failing
check "a trained folder that is not whole is refused" damaged
check "a place that cannot be is refused" no_place

# ---- stopped ----

sweep 'sft { data = data, steps = 200, lr = 1e-3, batch = 8 }' 'topk()' >long.lua
# A training that was stopped by SIGNAL once a state of it was there; then the whole command again.
stopped() { # SIGNAL CODE COMMAND DB [RECIPE]
    trained "stopped$4"
    recipe=${5:-long.lua}
    "$seqtopk" "$3" "$recipe" --db "$4" --checkpoint-seconds 0 >out 2>err &
    pid=$!
    i=0
    until [ -e "$(echo "$SEQTOPK_TRAINED"/*.state)" ]; do
        i=$((i + 1))
        [ $i -lt 300 ] && sleep 0.02 || return 1
    done
    kill "-$1" $pid
    wait $pid 2>/dev/null
    [ $? -eq "$2" ] && [ -z "$(ls "$SEQTOPK_TRAINED"/*/training.json 2>/dev/null)" ] || return 1
    [ "$1" = KILL ] || grep -q 'interrupted, run it again' err || return 1
    gives 0 "$seqtopk" "$3" "$recipe" --db "$4" --checkpoint-seconds 1000 && cmp "$SEQTOPK_TRAINED"/*/model.safetensors "$reference" &&
        [ "$(sql "$4" 'SELECT count(*) || max(step) FROM v_training_steps')" = 200200 ]
}
uninterrupted() {
    trained whole-run
    gives 0 "$seqtopk" train long.lua --db whole.db && reference=$(ls whole-run/*/model.safetensors)
}
stopped_pretraining() {
    pretrain long '' | sed 's/steps = 40/steps = 200/' >lp.lua
    trained whole-pretraining
    gives 0 "$seqtopk" train lp.lua --db whole.db && reference=$(ls whole-pretraining/*/model.safetensors) &&
        stopped TERM 143 train l.db lp.lua
}
check "a longer training" uninterrupted
without_states() {
    trained without
    sed 's/steps = 200/steps = 100000/' long.lua >endless.lua
    "$seqtopk" train endless.lua --db n.db --checkpoint-seconds never >out 2>err &
    pid=$!
    i=0
    until [ "$(sqlite3 n.db 'SELECT count(*) > 0 FROM v_training_steps' 2>/dev/null)" = 1 ]; do
        i=$((i + 1))
        [ $i -lt 1000 ] && sleep 0.02 || return 1
    done
    kill -INT $pid
    wait $pid 2>/dev/null
    [ $? -eq 130 ] && [ -z "$(find without -type f)" ]
}
check "a training without states leaves none where it is stopped" without_states
check "Ctrl-C in train leaves a state, and the next one ends in the same weights" stopped INT 130 train i.db
check "so it is in run" stopped INT 130 run j.db
check "and the cells are done then" [ "$(sql j.db "SELECT count(*) || min(status) FROM v_cells")" = 1done ]
check "killed, it goes on from its last state" stopped KILL 137 train k.db
check "and so does a model that is made from nothing" stopped_pretraining
unset SEQTOPK_TRAINED

# ---- fewer experts, and the online selection in training ----

trained lost
pruned() {
    sweep 'none(), sft { data = data, steps = 1, lr = 0, batch = 2, prune = { share = 0.25, texts = 5 } },
      sft { data = data, steps = 3, lr = 1e-3, batch = 2, prune = { share = 0.5 } }' \
        'topk(), seqtopk { mode = "online", max = N }' >prune.lua
    gives 0 "$seqtopk" plan prune.lua && says 'prune 0.25 by 5 texts' && gives 0 "$seqtopk" run prune.lua --db prune.db &&
        [ "$(sql prune.db "SELECT group_concat(max || ' of ' || n || ' ' || train, ';') FROM (SELECT max, train,
            (SELECT count(DISTINCT expert) FROM v_expert_load l WHERE l.cell_id = c.cell_id) AS n FROM v_cells c
                WHERE router = 'seqtopk' AND status = 'done' ORDER BY max DESC)")" = '8 of 8 none;6 of 6 sft sums.jsonl 1 steps lr 0 batch 2 prune 0.25 by 5 texts;4 of 4 sft sums.jsonl 3 steps lr 0.001 batch 2 prune 0.5' ]
}
pruned_folder() {
    id=$(sql prune.db "SELECT training_id FROM v_trainings WHERE settings LIKE '%\"share\":0.25%' LIMIT 1")
    [ "$(sql :memory: "SELECT json_extract(readfile('lost/$id/config.json'), '\$.num_experts', '\$.num_experts_per_tok')")" = '[6,2]' ] &&
        [ "$(sql :memory: "SELECT json_extract(p, '\$.texts', '\$.left') || json_array_length(p, '\$.load[1]') || json_array_length(p, '\$.kept[1]')
            FROM (SELECT json_extract(readfile('lost/$id/training.json'), '\$.made_by.pruned') AS p)")" = '[5,6]86' ] && [ -z "$(find lost -name '*.pruned*')" ] &&
        gives 0 "$seqtopk" generate 'What is' --model "lost/$id" --max-tokens 3
}
online() { # SHARE
    sweep "sft { data = data, steps = 12, lr = 1e-3, batch = 2, online = $1 }" 'seqtopk()' >online.lua
    rm -f online.db
    gives 0 "$seqtopk" train online.lua --db online.db &&
        sql online.db 'SELECT group_concat(experts = 2, "") FROM (SELECT experts FROM v_training_steps ORDER BY step)' >steps
}
online_steps() {
    online 0 && grep -qx 111111111111 steps && online 1 && ! grep -q 11 steps && online 0.5 && grep -q 1 steps && grep -q 0 steps &&
        online '"anneal"' && grep -q '^1.*0$' steps
}
check "a model that lost experts is trained and scored by what it has left" pruned
check "its folder is one like any other, and says why" pruned_folder
check "steps are routed online as often as the recipe says" online_steps
not_online() {
    sweep 'sft { data = data, steps = 1, lr = 0, online = 0.5 }' >bad.lua
    fails 1 'bad.lua:5: sft.online: the model trains with topk; allowed is seqtopk in mode global alone' "$seqtopk" plan bad.lua
}
check "which topk cannot be" not_online
unset SEQTOPK_TRAINED

# ---- bad input: one sentence, and no database ----

refused() { # LINE OF DATA, WORDS
    printf '{"q": "a", "a": "b"}\n%s\n' "$1" >bad.jsonl
    sed 's/sums.jsonl/bad.jsonl/' s.lua >bad.lua
    rm -f x.db
    for command in plan 'run --db x.db' 'train --db x.db'; do
        # shellcheck disable=SC2086
        fails 1 "$2" "$seqtopk" $command bad.lua && [ ! -e x.db ] || return 1
    done
}
check "an empty completion names its line" refused '{"q": "a", "a": ""}' 'bad.jsonl:2: .*empty'
check "a missing field names its line" refused '{"q": "a"}' 'bad.jsonl:2: '
check "what is longer than length names its line and tokens" refused \
    "{\"q\": \"a\", \"a\": \"$(seq -s ' ' 60)\"}" 'bad.jsonl:2: [0-9]* tokens'
rises_too_long() {
    sweep 'sft { data = data, epochs = 2, batch = 8, lr = 1e-3, warmup = 3 }' 'topk()' >rise.lua
    fails 1 'rise.lua:5: sft.warmup: 3 is more than the 2 steps of 2 epochs' "$seqtopk" plan rise.lua &&
        sed -i 's/warmup = 3/warmup = 2/' rise.lua && gives 0 "$seqtopk" plan rise.lua &&
        pretrain rise 'warmup = 2' | sed 's/steps = 40/epochs = 0.01/' >rise.lua &&
        fails 1 'pretrain.warmup: 2 is more than the 1 step of 0.01 epochs' "$seqtopk" train rise.lua --db x.db && rm -f x.db &&
        [ -z "$(find results/trained -name '*.base')" ]
}
check "a rise of more steps than some epochs have is refused" rises_too_long
sed 's/train = .*/train = { none() } }/' s.lua >none.lua
check "a sweep without training has nothing to train" fails 1 'none.lua: nothing to train; the sweep says no train = sft { ... }' \
    "$seqtopk" train none.lua --db x.db
check "train wants a recipe" fails 2 'train needs an operand' "$seqtopk" train
check "seconds are a number" fails 2 'train: --checkpoint-seconds x: a number from 0 to 1000000 is needed, or never' \
    "$seqtopk" train s.lua --checkpoint-seconds x
check "and not below 0" fails 2 'run: --checkpoint-seconds -1: a number' "$seqtopk" run s.lua --checkpoint-seconds -1
check "a device that is not there is refused first" fails 1 'cuda' "$seqtopk" train s.lua --db x.db --device cuda
check "no database was made" [ ! -e x.db ]
plan
