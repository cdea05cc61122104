#!/bin/sh
# generate, end to end, on the shipped model: one text and many, seeds, stops, routers, an
# interruption, and all that can be wrong with what it is given. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
gen() { "$seqtopk" generate --model "$root/results/models/tiny-olmoe-2k" "$@"; }
# Reads lines of JSON and asserts what is given in Python of their list t.
lines() { python3 -c 'import json, sys; t = [json.loads(l) for l in open("out")]; exec(sys.argv[1])' "$1" 2>>err; }

# ---- texts ----

# What follows is one line.
apples='Question: Tom has 3 apples and buys 4 more. How many apples has he?
Answer:'

one() {
    gives 0 gen "$apples" --max-tokens 12 && [ "$(wc -l <out)" -eq 1 ] && cp out plain &&
        grep -q '^1 text, 12 tokens in .* s: .* tokens/s, 8.00 experts per token and layer$' err &&
        gives 0 gen "$apples" --max-tokens 12 --json &&
        lines 'assert open("plain").read() == t[0]["text"] + "\n" and t[0]["prompt"].endswith("\nAnswer:") and t[0]["stop"] == "length" and t[0]["tokens"] == 12 and t[0]["experts"] == 8 and list(t[0]) == ["prompt", "text", "stop", "tokens", "experts"]'
}
check "one prompt's text is printed as it is, and --json tells more" one
by_name() { gives 0 "$seqtopk" generate "$apples" --max-tokens 12 && cmp out plain; }
check "the model is the one that comes with the project" by_name
piped() {
    printf '%s' "$apples" | gen - --max-tokens 12 >out 2>err && cmp out plain
}
check "- is stdin" piped
many() {
    i=0
    while [ $i -lt 12 ]; do
        printf '{"prompt": "Question: What is %d + 2?\\nAnswer:"}\n' $i
        i=$((i + 1))
    done >prompts.jsonl
    gives 0 gen --prompts prompts.jsonl --max-tokens 30 && cp out many && lines 'assert len(t) == 12 and all(x["prompt"] == "Question: What is %d + 2?\nAnswer:" % i for i, x in enumerate(t)) and all(x["tokens"] <= 30 and x["stop"] in ("eos", "length") for x in t)'
}
check "a file of prompts becomes JSON lines in their order" many
alone() {
    gives 0 gen --prompts prompts.jsonl --max-tokens 30 --threads 1 --batch 1 && cmp out many &&
        gives 0 gen --prompts prompts.jsonl --max-tokens 30 --threads 3 --batch 2 && cmp out many
}
check "neighbours and threads change nothing" alone
words() {
    gives 0 gen 'The cat' 'A dog' --max-tokens 3 && lines 'assert [x["prompt"] for x in t] == ["The cat", "A dog"]'
}
check "several prompts on the command line too" words

# ---- decoding ----

samples() {
    gives 0 gen 'Once upon a time' --temperature 1 --top-p 0.9 --samples 3 --seed 7 --max-tokens 12 &&
        lines 'assert [x["seed"] for x in t] == [7, 8, 9] and len({x["text"] for x in t}) == 3' && cp out three &&
        gives 0 gen 'Once upon a time' --temperature 1 --top-p 0.9 --seed 8 --max-tokens 12 &&
        [ "$(python3 -c 'import json; print(json.loads(open("three").readlines()[1])["text"])')" = "$(cat out)" ]
}
check "samples have the seeds from --seed on, each of which gives its text again" samples
stops() {
    word=$(cut -c 4-6 plain) &&
        gives 0 gen "$apples" --max-tokens 12 --json --stop zzz --stop "$word" &&
        lines "w = open('plain').read()[:-1]; assert t[0]['stop'] == 'stop' and t[0]['text'] == w[:w.index('''$word''')]"
}
check "a text ends before any of the stops" stops
full() {
    text=$(yes 'one two three' | head -400 | tr '\n' ' ')
    gives 0 gen "$text" --json --max-tokens 2000 && lines 'assert t[0]["stop"] in ("context", "eos") and t[0]["tokens"] < 2000'
}
check "a text ends where the context does" full

# ---- routers ----

routers() {
    gives 0 gen 'The cat sat on the' 'A' --k 4 --router 'seqtopk { mode = "online", max = K + 2 }' --max-tokens 20 &&
        lines 'assert all(3 < x["experts"] < 6 and x["experts"] != 4 for x in t)' &&
        gives 0 gen 'The cat sat on the' 'A' --k 2 --router 'seqtopk { mode = "strict", max = N }' --max-tokens 20 &&
        lines 'assert all(x["experts"] <= 2 for x in t)' &&
        gives 0 gen 'The cat' --k 3 --json --max-tokens 4 && lines 'assert t[0]["experts"] == 3'
}
check "the router and K are those of the command line" routers
prefill() {
    gives 0 gen 'The cat sat on the mat and looked at the dog' --json --k 2 --router 'seqtopk { mode = "strict", max = N, prefill = "global" }' --max-tokens 8 &&
        lines 'assert t[0]["experts"] <= 2'
}
check "a prompt may be routed by global" prefill
router() { fails 1 "$2" gen x --router "$1"; } # EXPRESSION WORDS
check "a router that looks ahead is refused" router 'seqtopk { mode = "global" }' 'cannot route a text while it is written; say seqtopk { mode = "online"'
check "so is one that needs a batch" router 'batchtopk()' 'cannot route a text'
check "an unknown parameter is answered with the known" router 'seqtopk { mod = 1 }' '--router:1: seqtopk.mod: unknown key; allowed are mode'
check "a value out of range is refused with the range" router 'seqtopk { max = 3 }' '3 with K = 8 and N = 64 .*allowed is K to N, here 8 to 64'
check "a name that is none is refused" router 'topq()' '--router:1: .*topq'
check "what is no router is refused" router 'sweep { }' 'a router is needed, such as topk()'
check "what is not called is refused" router 'topk' 'write NAME { ... } or NAME()'
check "two are refused" router 'topk(), topk()' '--router: it returns 2 values'
check "an empty text is refused" router '' 'a router is needed'
check "an endless one is stopped" router '(function() while true do end end)()' 'does it ever end'
check "more experts than there are are refused" fails 1 'k 65: above N = 64' gen x --k 65

# ---- Ctrl-C ----

interrupted() {
    i=0
    while [ $i -lt 400 ]; do
        printf '{"prompt": "Once upon a time %d"}\n' $i
        i=$((i + 1))
    done >long.jsonl
    "$seqtopk" generate --prompts long.jsonl --temperature 1 --max-tokens 100 --threads 1 --batch 2 >out 2>err &
    pid=$!
    i=0
    until [ -s out ]; do
        i=$((i + 1))
        [ $i -lt 600 ] && sleep 0.05 || return 1
    done
    kill -INT $pid
    wait $pid
    [ $? -eq 130 ] && grep -q "^interrupted: [0-9]* of 400 texts are finished" err && lines 'assert 0 < len(t) < 400' &&
        [ "$(sed -n 's/^interrupted: \([0-9]*\) of.*/\1/p' err)" = "$(wc -l <out)" ]
}
check "Ctrl-C prints what is finished, whole" interrupted

# ---- bad input ----

check "no prompt is wrong usage" fails 2 'there is no prompt' gen
check "prompts twice over are wrong usage" fails 2 'prompts or --prompts, not both' gen x --prompts prompts.jsonl
check "an empty prompt is refused" fails 1 'prompt 2: has no token' gen x ''
check "too long a prompt is refused with its length and the context" \
    fails 1 'prompt 1: its [0-9]* tokens leave no room for a new one in the model.s context of 2048' gen "$(yes 'one two three' | head -1200)"
check "bytes that are no UTF-8 are refused" fails 1 'prompt 1: the text is not UTF-8 at byte 1' gen "$(printf 'a\377b')"
twice() { echo x | fails 1 "'-', which is stdin, stands twice" gen - -; }
check "stdin twice is refused" twice
line() { # LINE WORDS
    printf '{"prompt": "a"}\n%b\n' "$1" >bad.jsonl
    fails 1 "bad.jsonl:2: $2" gen --prompts bad.jsonl
}
check "a line without a prompt is refused" line '{"text": "a"}' '.*prompt'
check "an empty prompt of a file is refused by line" line '{"prompt": ""}' 'has no token'
check "a line that is no JSON is refused" line '{"prompt": ' ''
: >empty.jsonl
check "an empty file is refused" fails 1 'empty.jsonl: an empty file' gen --prompts empty.jsonl
check "a file that is not there is named" fails 1 'none.jsonl' gen --prompts none.jsonl
wrong() { fails 2 "$1" gen x "$2" "$3"; } # WORDS OPTION VALUE
check "a temperature below 0 is refused" wrong 'temperature -0.5: allowed is a number from 0 to 100' --temperature -0.5
check "a temperature that is no number is refused" wrong 'temperature warm' --temperature warm
check "top_p 0 is refused" wrong 'top-p 0: allowed is a number above 0 and at most 1' --top-p 0
check "top_p above 1 is refused" wrong 'top-p 1.5' --top-p 1.5
check "NaN is refused" wrong 'top-p nan' --top-p nan
check "top_p without a temperature is refused" wrong 'at temperature 0 nothing is drawn' --top-p 0.5
check "samples without a temperature are refused" wrong 'at temperature 0 nothing is drawn' --samples 2
check "an empty stop is refused" wrong 'stop: an empty text' --stop ''
check "a seed below 0 is refused" wrong 'seed -1' --seed -1
check "no tokens are refused" wrong 'max-tokens 0' --max-tokens 0
check "too many threads are refused" wrong 'at most 1024' --threads 5000
check "an unknown format is refused" fails 1 'dtype int8: allowed is float32' gen x --dtype int8
check "an unknown device is refused" fails 1 'tpu' gen x --device tpu
check "an unknown model is answered with the known" fails 1 'nonesuch' "$seqtopk" generate x --model nonesuch
plan
