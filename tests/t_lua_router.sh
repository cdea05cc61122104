#!/bin/sh
# Routers of a recipe's own, in Lua, and the router whose cutoffs a model brings along, end to end on
# the shipped model: the same numbers as the routers in C, and what fails alone. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
model=$root/results/models/tiny-olmoe-2k

cat >texts.jsonl <<'TEXTS'
{"text": "The cat sat on the mat and looked at the dog."}
{"text": "def add(a, b):\n    return a + b\n"}
{"text": "Once upon a time there was a small house at the edge of a wood."}
TEXTS
cat >best.lua <<'LUA'
local function best(scores, T, N, K)
    local out = {}
    for t = 1, T do
        local all = {}
        for e = 1, N do all[e] = e end
        table.sort(all, function(a, b)
            if scores[t][a] ~= scores[t][b] then return scores[t][a] > scores[t][b] end
            return a < b
        end)
        out[t] = {}
        for i = 1, K do out[t][i] = all[i] end
    end
    return out
end
LUA
recipe() { # ROUTERS [MODEL]
    cat best.lua
    printf 'return sweep { name = "t", models = "%s", K = 2, routers = { %s },\n' "${2:-$model}" "$1"
    printf '    tasks = { nll { file = "texts.jsonl" } } }\n'
}
sql() { sqlite3 -bail "$1" "$2"; }

recipe 'topk(), router { name = "mine", select = best, min = K, max = K },
    router { name = "each", select = best, scope = "token" },
    router { name = "one-short", select = function(s, T, N, K) local out = best(s, T, N, K)
        out[T][K] = nil return out end }' >r.lua
one_fails() {
    gives 1 "$seqtopk" run r.lua --db r.db --threads 4 &&
        grep -q 't: 3 cells computed, 0 in the database already, 1 failed' err &&
        [ "$(sql r.db "SELECT router FROM v_cells WHERE status <> 'done'")" = one-short ]
}
told() {
    sql r.db "SELECT error FROM v_cells WHERE router = 'one-short'" >out
    says 'r.lua:[0-9]*: router "one-short": [0-9]* pairs of a token and an expert; allowed is [0-9]*, T \* K'
}
same_numbers() {
    [ "$(sql r.db "SELECT count(*) FROM v_cells JOIN v_metrics USING (cell_id) WHERE router IN ('mine', 'each')")" -gt 4 ] &&
        [ "$(sql r.db "SELECT max(kinds) FROM (SELECT count(DISTINCT value) AS kinds, count(*) AS cells
            FROM v_metrics JOIN v_cells USING (cell_id) WHERE status = 'done' GROUP BY metric)")" = 1 ] &&
        [ "$(sql r.db "SELECT min(cells) FROM (SELECT count(*) AS cells FROM v_metrics
            JOIN v_cells USING (cell_id) WHERE status = 'done' GROUP BY metric)")" = 3 ]
}
check 'a Lua router that breaks its budget fails alone' one_fails
check 'it is told with file, line, name and what is allowed' told
check 'Lua routers give the numbers of the one in C' same_numbers

labels() { gives 0 "$seqtopk" table r.db && says 'mine \[2, 2\]' 'each \[0, 64\]'; }
check 'tables name a Lua router with its bounds' labels

comment() {
    { cat r.lua; echo '-- another line'; } >r2.lua
    gives 1 "$seqtopk" run r2.lua --db r.db &&
        grep -q 't: 2 cells computed, 1 in the database already, 1 failed' err
}
check 'another text is another Lua router, and the same router in C' comment

expression='router { name = "each", scope = "token", select = function(s, T, N, K)
    local out, left = {}, {}
    for i = 1, K do
        local top
        for e = 1, N do if not left[e] and (not top or s[1][e] > s[1][top]) then top = e end end
        left[top], out[i] = true, top
    end
    return { out } end }'
writes() {
    gives 0 "$seqtopk" generate 'Question: What is 2 + 3?' --model "$model" --k 2 --max-tokens 12 \
        --router 'topk()' && cp out want &&
        gives 0 "$seqtopk" generate 'Question: What is 2 + 3?' --model "$model" --k 2 --max-tokens 12 \
            --router "$expression" && cmp -s out want
}
check 'a Lua router of single tokens writes a text' writes
check 'one of sequences does not' fails 1 'selects over whole sequences' "$seqtopk" generate Hello \
    --model "$model" --router 'router { name = "m", select = function() end }'

# ---- threshold ----

mkdir learnt
for f in "$model"/*; do ln -s "$f" learnt/; done
cutoffs() { # K VALUE: the same for every expert
    awk -v k="$1" -v v="$2" 'BEGIN {
        printf "{\"version\": 1, \"K\": %d, \"cutoffs\": [", k
        for (l = 0; l < 4; l++) {
            printf "%s[", l ? ", " : ""
            for (e = 0; e < 64; e++) printf "%s%s", e ? ", " : "", v
            printf "]"
        }
        print "]}" }'
}
recipe 'threshold()' >none.lua
recipe 'threshold()' learnt >learnt.lua
check 'threshold without cutoffs is refused' fails 1 'has no cutoffs.json, which training makes' \
    "$seqtopk" run none.lua --db t.db
check 'and on the command line' fails 1 '--router threshold(): model .* has no cutoffs.json' \
    "$seqtopk" generate Hello --model "$model" --router 'threshold()'
cutoffs 3 0.5 >learnt/cutoffs.json
check 'cutoffs of another K are refused' fails 1 'learnt with K = 3' "$seqtopk" run learnt.lua --db t.db
check 'and on the command line too' fails 1 '--k 2: the cutoffs .* K = 3' "$seqtopk" generate Hello \
    --model ./learnt --router 'threshold()' --k 2
# Below every logit all experts are taken, and above every one none: scored, and written.
extremes() {
    cutoffs 2 -1e30 >learnt/cutoffs.json
    gives 0 "$seqtopk" run learnt.lua --db t.db || return 1
    cutoffs 2 1e30 >learnt/cutoffs.json
    gives 0 "$seqtopk" run learnt.lua --db t.db &&
        grep -q ' computed, 0 in the database already' err &&
        [ "$(sql t.db 'SELECT group_concat(experts) FROM (SELECT DISTINCT experts FROM v_tokens ORDER BY 1)')" = 0.0,64.0 ]
}
check 'cutoffs decide, and other cutoffs are another cell' extremes
said() { # ROUTER K
    gives 0 "$seqtopk" generate 'Once upon a time' --model ./learnt --router "$1" --k "$2" --max-tokens 8 && [ -s out ]
}
written() {
    said 'threshold()' 2 && cp out none &&
        said 'topk()' 64 && cp out all && ! cmp -s none all &&
        cutoffs 2 -1e30 >learnt/cutoffs.json && said 'threshold()' 2 && cmp -s out all
}
check 'threshold writes a text by its cutoffs' written
printf '{"version": 1, "K": 2, "cutoffs": [[1' >learnt/cutoffs.json
check 'a file that was cut short is refused' fails 1 'learnt/cutoffs.json:1: ' "$seqtopk" run learnt.lua --db t.db

plan
