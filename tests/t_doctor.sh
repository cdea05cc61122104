#!/bin/sh
# doctor: what it finds of data, programs and sandbox, and the self-tests of the tasks' measures, with
# tasks of the test's own of which some are wrong. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
export SEQTOPK_EVALS="$trash/evals" SEQTOPK_DATA="$trash/data"

mkdir evals data
# eval_file NAME SHA256 GOLDEN MEASURE SELF_TEST: a task with two measures.
eval_file() {
    cat >"evals/$1.lua" <<EOF2
return {
  name = "$1", about = "sums", license = "none", source = "here", file = "sums.jsonl",
  sha256 = $2,
  forms = { short = {
    version = 1, prompt = "{q}", generate = { max_tokens = 20 },
    measures = { $4, { "exact", name = "last", find = "[0-9]+", take = "last", reference = "{a}",
      golden = { $3 } } },
    self_test = { $5 },
  } },
}
EOF2
}
found='{ output = "3 or 4", found = "4" }, { output = "none" }'
exact='{ "exact", name = "same", reference = "{a}" }'
right='{ output = "{a}", score = 1 }, { output = "", score = 0 }'
documents='{"q": "1 + 1?", "a": "2"}\n{"q": "1 + 2?", "a": "3"}\n{"q": "1 + 3?", "a": "4"}\n'
printf '%b' "$documents" >data/sums.jsonl
sum=$(sha256sum <data/sums.jsonl | cut -c 1-64)
doctor() { "$seqtopk" doctor "$@" >out 2>err; }

# ---- what is there ----

eval_file sums "'$sum'" "$found" "$exact" "$right"
finds() {
    doctor
    says '^ok *cores' '^ok *data *.*/data/sums.jsonl: present, its sum is right' '^- *data *.*/data/gsm8k/test.jsonl: missing; scripts/fetch-data gets it' \
        '^ok *model' ' python3 ' ' sandbox ' ' curl ' && [ "$(grep -c gsm8k/test.jsonl out)" -eq 1 ] && ! grep -q '^BAD *data' out
}
check "each file of data is present or missing, once" finds
wrong_sum() {
    cp data/sums.jsonl kept && echo >>data/sums.jsonl
    doctor
    [ $? -eq 1 ] && says '^BAD *data *.*/data/sums.jsonl: its SHA-256 is .*, and should be '
    ok=$?
    mv kept data/sums.jsonl
    return $ok
}
check "a wrong sum is bad, and the exit code 1" wrong_sum
without_sum() { eval_file sums nil "$found" "$exact" "$right" && doctor; says '/sums.jsonl: present; its sum is not known'; }
check "a file without a known sum is said to be so" without_sum
broken() {
    echo 'return {' >evals/torn.lua
    doctor
    [ $? -eq 1 ] && says '^BAD *torn *.*evals/torn.lua:'
    ok=$?
    rm evals/torn.lua
    return $ok
}
check "a task that cannot be read is bad" broken
no_curl() { PATH=/nowhere doctor; says '^- *curl *not found; scripts/fetch-data' '^BAD *gnuplot'; }
check "programs that are not on the path are named" no_curl

# ---- self-tests ----

all_right() {
    doctor --self-test
    says '^ok *sums/short last: 2 golden cases$' '^ok *sums/short same of "{a}": 3 of 3 documents score 1$' '^ok *sums/short same of "": 3 of 3 documents score 0$' \
        '^ok *gsm8k/lmeval-5shot strict_match: 3 golden cases$' '^ok *gsm8k/lmeval-cot-8shot flexible_extract: 7 golden cases$' \
        '^- *humaneval/lmeval .*skipped: its data are not there; scripts/fetch-data' && ! grep -q '^BAD.*/' out
}
check "golden cases and documents that are right, and what is skipped, with the reason" all_right
# Tasks that are wrong in one thing each, all in one run.
eval_file g1 nil '{ output = "3 or 4", found = "3" }' "$exact" "$right"
eval_file g2 nil '{ output = "a\\n4" }' "$exact" "$right"
eval_file g3 nil '{ output = "no", found = "4" }' "$exact" "$right"
eval_file d1 nil "$found" "$exact" '{ output = "3", score = 1 }'
eval_file d2 nil "$found" "$exact" '{ output = "3", score = 1, except = { 0, 2 } }'
eval_file d3 nil "$found" "$exact" '{ output = "{a}", score = 1, except = { 1 } }'
eval_file d4 nil "$found" "$exact" '{ output = "3", score = 1, except = { 2 } }'
eval_file d5 nil "$found" "$exact" '{ output = "3", score = 1, except = { 3 } }'
eval_file d6 nil "$found" "$exact" '{ output = "{b}", score = 1 }'
eval_file d7 nil "$found" '{ "judge", user = "{output}", parse = "(.)" }' '{ output = "", score = 0 }'
program='{ "program", name = "runs", program = "{output}\nassert f() == {a}", milliseconds = 3000 }'
tests='{ output = "def f(): return {a}", score = 1 }, { output = "", score = 0 }, { output = "def f(): return 3", score = 1 }'
eval_file code nil "$found" "$program" "$tests"
check "what is wrong makes the exit code 1" gives 1 "$seqtopk" doctor --self-test
check "a wrong golden case is bad" says '^BAD *g1/short *last: in "3 or 4" it finds "4", and should find "3"$' '^ok *g1/short *same of'
check "so is one that finds what it should not" says '^BAD *g2/short *last: in "a\\n4" it finds "4", and should find nothing$'
check "and one that finds nothing" says '^BAD *g3/short *last: in "no" it finds nothing, and should find "4"$'
check "documents with another score are bad, by name" \
    says '^BAD *d1/short *same of "3": 1 of 3 documents score 1; not: 0 scores 0, 2 scores 0$'
check "known exceptions are no fault, and named" \
    says '^ok *d2/short *same of "3": 1 of 3 documents score 1; known exceptions: 0 scores 0, 2 scores 0$'
check "an exception that went right is not spoken of" says '^ok *d3/short *same of "{a}": 3 of 3 documents score 1$'
check "others are bad beside it" says '^BAD *d4/short .* score 1; not: 0 scores 0; known exceptions: 2 scores 0$'
check "an exception that is no document is bad" says '^BAD *d5/short *self_test: except has document 3; there are 3$'
check "documents without a field are bad, by line" says "^BAD *d6/short .*data/sums.jsonl:1: .*'b'"
check "a judge is not asked" says "^- *d7/short .*skipped: a judge's scores are not tested"
check "code is not run unasked" says '^- *code/short .*skipped: it runs code, in the sandbox; say --allow-code-execution' '^ok *code/short last: 2 golden'
rm evals/[dg]?.lua

# ---- programs ----

programs() {
    says '^ok *code/short runs of "def f(): return {a}": 3 of 3 documents score 1$' '^ok *code/short runs of "": 3 of 3 documents score 0$' \
        '^BAD *code/short runs of "def f(): return 3": 1 of 3 documents score 1; not: 0 AssertionError, 2 AssertionError$'
}
shared=${SEQTOPK_SHARED:-$root/../shared}/data
humaneval() {
    says '^ok *humaneval/lmeval pass@1 of "{canonical_solution}": 164 of 164 documents score 1$' '^ok *humaneval/lmeval pass@1 of "": 164 of 164 documents score 0$'
}
if [ -f "$shared/humaneval/HumanEval.jsonl.gz" ]; then
    mkdir -p data/humaneval && cp "$shared/humaneval/HumanEval.jsonl.gz" data/humaneval/
fi
if ! grep -q '^ok *sandbox' out; then
    skip "programs are run, and named by their exception" "no sandbox here"
    skip "HumanEval's own solutions pass, and empty ones fail" "no sandbox here"
else
    doctor --self-test --allow-code-execution
    check "programs are run, and named by their exception" programs
    if [ -d data/humaneval ]; then
        check "HumanEval's own solutions pass, and empty ones fail" humaneval
    else
        skip "HumanEval's own solutions pass, and empty ones fail" "no humaneval under $shared"
    fi
fi
check "leave to run code goes with the tests alone" fails 2 'goes with --self-test' "$seqtopk" doctor --allow-code-execution
plan
