#!/bin/sh
# plan, list, tokenize, and the program's own options, end to end.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"

recipes=$root/tests/data/recipes
model=$root/results/models/tiny-olmoe-2k

# in_ms LIMIT COMMAND...: the fastest of three runs takes less.
in_ms() {
    limit=$1
    shift
    best=999999
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        start=$(date +%s%N)
        "$@" >out 2>err || return 1
        took=$((($(date +%s%N) - start) / 1000000))
        [ "$took" -ge "$best" ] || best=$took
        [ "$best" -ge "$limit" ] || break
    done
    echo "$best ms, and $limit are allowed" >>err
    [ "$best" -lt "$limit" ]
}

cat >hundred.lua <<END
local routers = { topk(), batchtopk() }
for _, mode in ipairs { "global", "online", "strict" } do
  for extra = 1, 6 do
    routers[#routers + 1] = seqtopk { mode = mode, max = K + extra }
  end
end
return sweep {
  name = "hundred", models = "$model", K = { 8, 6, 4, 2, 1 }, routers = routers,
  tasks = nll { file = "texts.jsonl" },
}
END
cp "$recipes/texts.jsonl" .

good_is_listed() {
    gives 0 "$seqtopk" plan "$recipes/good.lua" --model "$model" || return 1
    [ "$(wc -l <out)" -eq 41 ] && says '^id .*documents$' 'seqtopk  *online  *8  *0  *64  *-  *none  *nll:texts.jsonl  *1  *2$' &&
        grep -q '^good: 40 cells, 1 model, 2 tasks, 60 documents to score on cpu, float32$' err
}
cat >shares.lua <<END
return sweep {
  name = "shares", models = "$model", K = { 2, 8, 4 }, tasks = nll { file = "texts.jsonl" },
  routers = { topp(), topp { p = 0.25 }, xmoe {}, expert_choice {} },
}
END
shares_are_listed() {
    gives 0 "$seqtopk" plan shares.lua || return 1
    [ "$(wc -l <out)" -eq 7 ] && [ "$(grep -c '  topp  *-*  *8  *1  *64  ' out)" -eq 2 ] &&
        says 'xmoe  *-*  *8  *1  *64  ' 'expert_choice  *-*  *2  *0  *64  ' 'expert_choice  *-*  *4  *0  *64  '
}
# A file that a recipe names may lie among the data.
among_the_data() {
    mkdir -p shelf && cp "$recipes/texts.jsonl" shelf/shelved.jsonl
    sed 's/texts.jsonl/shelved.jsonl/' shares.lua >shelved.lua
    gives 1 "$seqtopk" plan shelved.lua &&
        grep -q 'shelved.jsonl: no such file, nor is there data/shelved.jsonl$' err &&
        SEQTOPK_DATA=shelf gives 0 "$seqtopk" plan shelved.lua
}
json_is_json() {
    gives 0 "$seqtopk" plan "$recipes/good.lua" --model "$model" --json --limit 1 &&
        says '^  "documents": 1$' '^  "mode": null,$' '^  "min": 0,$' &&
        [ "$(grep -c '"id": "[0-9a-f]\{12\}",$' out)" -eq 40 ]
}
tsv_has_tabs() {
    gives 0 "$seqtopk" plan "$recipes/good.lua" --model="$model" --tsv &&
        [ "$(awk -F '\t' 'NF == 12 && $9 == (NR == 1 ? "train" : "none")' out | wc -l)" -eq 41 ]
}
generating() { # NAME OPTIONS [MORE]
    cat >"$1.lua" <<END
return sweep {
  name = "$1", models = "$model", K = 8, routers = { topk(), seqtopk { mode = "online", prefill = "global" } },
  tasks = task { "gsm8k/densemixer-0shot", $2 }, ${3:-}
}
END
}
generating sampled 'file = "problems.jsonl", temperature = 0.7' 'seeds = { 1, 2 }'
generating greedy 'file = "problems.jsonl"' 'seeds = { 1, 2 }'
generating long 'file = "long.jsonl"'
generating cut 'file = "long.jsonl", truncate = true, max_tokens = 2048'
printf '{"question": "%s", "answer": "#### 1"}\n' "$(yes 'one two three' | head -1200 | tr '\n' ' ')" >long.jsonl
cp "$recipes/problems.jsonl" .

generating_is_listed() {
    gives 0 "$seqtopk" plan sampled.lua || return 1
    [ "$(wc -l <out)" -eq 5 ] && says 'topk .* gsm8k/densemixer-0shot(temperature=0.7)  *1  *[0-9]*$' &&
        gives 0 "$seqtopk" plan greedy.lua && says ' gsm8k/densemixer-0shot  *2 '
}
seeds() {
    gives 0 "$seqtopk" plan sampled.lua && ! grep -q warning err && gives 0 "$seqtopk" plan greedy.lua &&
        grep -q 'warning: cells that differ in the seed alone give the same where nothing is sampled' err
}
wrong_sum() {
    mkdir -p data/gsm8k && cp problems.jsonl data/gsm8k/test.jsonl &&
        fails 1 "data/gsm8k/test.jsonl: its SHA-256 is $(sha256sum <problems.jsonl | cut -c -64), and should be 3730d312.*; scripts/fetch-data gets it anew" \
            "$seqtopk" plan "$root/recipes/gsm8k_sweep.lua" --model "$model"
    set -- $?
    rm -r data
    return "$1"
}
each_bad_recipe_fails() {
    for bad in "$recipes"/bad_*.lua; do
        cp "$bad" . && fails 1 "$(basename "$bad")" "$seqtopk" plan "$(basename "$bad")" || return 1
    done
}
full_disk() {
    "$seqtopk" list >/dev/full 2>err
    [ $? -eq 1 ] && grep -q 'could not be written' err
}
round_trip() {
    printf 'caf\303\251 \360\237\246\206\n\tx = 1;  ' >text
    "$seqtopk" tokenize "$model" --file text --json >out 2>err &&
        grep '"id"' out | grep -o '[0-9]*' >ids &&
        "$seqtopk" tokenize "$model" --decode <ids >back && cmp text back
}
pieces_are_escaped() {
    gives 0 "$seqtopk" tokenize "$model" 'say "hi"
' && says '^ *[0-9]*  "s' '" \\""$' '"\\n"$'
}

check "plan lists every cell and sums them up" good_is_listed
check "plan --json is JSON with numbers and nulls" json_is_json
check "plan --tsv has a field for each column" tsv_has_tabs
check "each bad recipe is refused with one sentence" each_bad_recipe_fails
check "a hundred cells take less than 0.1 s" in_ms 100 "$seqtopk" plan hundred.lua
check "and they are a hundred" [ "$(wc -l <out)" -eq 101 ]
check "routers that ignore K have one cell for all of them, those that do not have one for each" shares_are_listed
check "a file is found among the data" among_the_data
check "a recipe that is not there is named" fails 1 'none.lua: No such file' "$seqtopk" plan none.lua
check "an unknown model is named" fails 1 "model 'nope' not found" \
    "$seqtopk" plan hundred.lua --model nope
check "a missing data set names SEQTOPK_DATA" fails 1 'data/gsm8k/test.jsonl is missing; scripts/fetch-data gets it; its folder is what SEQTOPK_DATA says' \
    "$seqtopk" plan "$root/recipes/gsm8k_sweep.lua" --model "$model"
check "a data set that was changed is told by both sums" wrong_sum
check "a task that generates is planned, under a name that tells how" generating_is_listed
check "seeds are worth a warning only where nothing is sampled" seeds
check "a prompt that fills the context is refused by line" \
    fails 1 'long.jsonl:1: a prompt of .* tokens leaves no room for a new one in the model.s 2048; the recipe may say task { "gsm8k/densemixer-0shot", truncate = true }' \
    "$seqtopk" plan long.lua
check "more new tokens than the model has positions are refused" \
    fails 1 'leave room for max_tokens = 2048, and the model has only 2048 positions' "$seqtopk" plan cut.lua
check "plan without a recipe is wrong usage" fails 2 'plan needs an operand' "$seqtopk" plan
check "two recipes are wrong usage" fails 2 "plan does not take 'b'" "$seqtopk" plan a b
check "an unknown option is wrong usage" fails 2 "plan has no option '--modle'" "$seqtopk" plan --modle x
check "an option without its value is wrong usage" fails 2 '--limit needs a value' \
    "$seqtopk" plan hundred.lua --limit
check "a limit that is no number is wrong usage" fails 2 '--limit 3x: a whole number' \
    "$seqtopk" plan hundred.lua --limit 3x
check "a flag with a value is wrong usage" fails 2 '--json takes no value' \
    "$seqtopk" plan hundred.lua --json=yes

check "list shows routers, tasks and models" gives 0 "$seqtopk" list
check "list tells ranges and defaults" says '^seqtopk  *max  *K to N  *K + 2 ' '^topp  *p  *above 0, up to 1  *0.4  ' '^topp  .*K does not matter' \
    '^xmoe  *threshold  *above 0, up to 1  *0.9  ' '^xmoe  .*K does not matter' '^expert_choice  ' '^gsm8k/nll ' '^gsm8k/lmeval-5shot .*MIT  *lm-evaluation-harness gsm8k 3.0' '^humaneval/lmeval ' \
    '^mbpp/lmeval-3shot ' '^summary/esft ' '^law/esft ' '^tiny-olmoe-2k '
check "list takes less than 0.05 s" in_ms 50 "$seqtopk" list
check "list models --json is JSON" gives 0 "$seqtopk" list models --json
check "and has the number of experts" says '"N": 64,$'
check "list of something else is wrong usage" fails 2 "list knows no 'cats'" "$seqtopk" list cats
check "a full disk is noticed" full_disk

check "tokens lead back to the text, byte by byte" round_trip
check "tokens are shown with escapes" pieces_are_escaped
printf 'ab\360\237' >broken
check "text that is not UTF-8 is refused" fails 1 'broken: ' "$seqtopk" tokenize "$model" --file broken
check "an id that is none is refused" fails 1 "'7x' is no token id" "$seqtopk" tokenize "$model" --decode 7x
check "an id beyond the vocabulary is refused" fails 1 '99999999' \
    "$seqtopk" tokenize "$model" --decode 99999999
check "text and file together are wrong usage" fails 2 'not both' "$seqtopk" tokenize "$model" a --file b

check "help lists the commands" gives 0 "$seqtopk" help
check "with a line for each" says '^  plan ' '^  run ' '^  tokenize '
check "plan --help tells its options" gives 0 "$seqtopk" plan --help
check "in its usage" says '^usage: seqtopk plan RECIPE .*--limit N'
check "--version tells the version" gives 0 "$seqtopk" --version
check "an unknown command lists the known ones" fails 2 "no command 'rum'; commands are run, plan" "$seqtopk" rum
plan
