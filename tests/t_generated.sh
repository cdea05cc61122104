#!/bin/sh
# A task whose documents are made by a function, through the commands: list, plan, score and doctor;
# and a function that fails. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
export SEQTOPK_EVALS="$trash/evals" SEQTOPK_DATA="$trash/data" SEQTOPK_MODELS="$root/results/models"

mkdir evals data
cat >evals/sums.lua <<'EOF'
return {
  name = "sums", about = "small sums", license = "none", source = "here",
  generated = { test = 5, train = 7, items = function(split, count)
    local list = {}
    for i = 1, count do
      local b = split == "test" and 1 or 2
      list[i] = { q = "What is " .. i .. " + " .. b .. "?", a = i + b }
    end
    return list
  end },
  train = { prompt = "{q}", completion = " {a}" },
  forms = {
    nll   = { version = 1, prompt = "{q}", target = " {a}" },
    short = { version = 1, prompt = "{q}", generate = { max_tokens = 20 },
      measures = { { "exact", name = "marked", find = "[0-9]+", reference = "{a}" } },
      self_test = { { output = "{a}", score = 1 }, { output = "", score = 0 } } },
  },
}
EOF
cat >recipe.lua <<'EOF'
return sweep { name = "r", models = { "tiny-olmoe-2k" }, K = { 2 }, routers = { topk() },
  tasks = { "sums/nll", "sums/short" } }
EOF
printf '{"doc": 0, "text": "2"}\n{"doc": 1, "text": "9"}\n{"doc": 2, "text": "4"}\n' >p.jsonl

lists() {
    gives 0 "$seqtopk" list tasks && says "^sums/nll .*made by .*evals/sums.lua  *yes" &&
        gives 0 "$seqtopk" list training-sets && says "^sums/train .*made by .*evals/sums.lua  *yes"
}
check "list says who makes the documents" lists
plans() {
    gives 0 "$seqtopk" plan recipe.lua --json && says sums/nll sums/short
}
check "plan takes them as it takes a file" plans
scores() {
    gives 0 "$seqtopk" score sums/short p.jsonl --limit 3 --tsv && says "^marked.*0\.6666"
}
check "score compares with what was made" scores
tests_itself() {
    "$seqtopk" doctor --self-test >out 2>err
    says "sums/short .*5 of 5 documents score 1" "sums/short .*5 of 5 documents score 0" \
        "its items for the test): 5, made here" "its items for training): 7, made here"
}
check "doctor tests them and counts the items" tests_itself

sed 's/local list = {}/local list = 1 + nothing/' evals/sums.lua >evals/sums.new
mv evals/sums.new evals/sums.lua
check "a function that fails is named with its line" fails 1 \
    "evals/sums.lua:4: unknown name 'nothing'" "$seqtopk" plan recipe.lua
sed 's/local list = 1 + nothing/local list = {{}}/; s/for i = 1, count/for i = 1, 2/' evals/sums.lua >evals/sums.new
mv evals/sums.new evals/sums.lua
check "and so is one that makes too few items" fails 1 \
    'evals/sums.lua: items("test", 5) returns 2 items' "$seqtopk" plan recipe.lua
plan
