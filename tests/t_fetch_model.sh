#!/bin/sh
# fetch-model against a server that has models as Hugging Face does, and cuts connections, answers
# 500 and gives wrong bytes. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/fetch-lib.sh
. "$root/tests/fetch-lib.sh"

mkdir -p www/org/Small www/org/Large www/gated/Small www/plain/Small www/huge/Small

# tensors BYTES...: a safetensors file, one tensor each.
tensors() {
    perl -e '
        my ($at, @t) = (0);
        for my $n (@ARGV) {
            push @t, qq("t$at": {"dtype":"F32", "shape":[) . $n / 4 . qq(], "data_offsets": [$at, ) . ($at + $n) . "]}";
            $at += $n;
        }
        my $head = "{" . join(",", @t) . "}";
        print pack("Q<", length $head), $head, "\x01\x02\x03\x04" x ($at / 4);' "$@"
}
for model in org/Small gated/Small plain/Small huge/Small org/Large; do
    echo '{"architectures": ["OlmoeForCausalLM"]}' >www/$model/config.json
    lines 30 >www/$model/tokenizer.json
done
echo '{"eos_token_id": 1}' >www/org/Small/generation_config.json
for owner in org gated plain huge; do
    tensors 4000 8000 >www/$owner/Small/model.safetensors
done
tensors 6000 >www/org/Large/model-00001-of-00002.safetensors
tensors 400 9000 >www/org/Large/model-00002-of-00002.safetensors
cat >www/org/Large/model.safetensors.index.json <<'INDEX'
{"metadata": {"total_size": 15400},
 "weight_map": {"a": "model-00001-of-00002.safetensors",
  "b": "model-00002-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"}}
INDEX
model() { HF_ENDPOINT=$url/$mode "$root/scripts/fetch-model" "$@"; }
mode=
same() { # MODEL FOLDER FILE...
    same_from=www/$1 same_to=$2
    shift 2
    for same_file; do
        cmp "$same_from/$same_file" "$same_to/$same_file" >>err 2>&1 || return 1
    done
    [ "$(find -L "$same_to" -type f | wc -l)" = $# ]
}

one_file() {
    gives 0 model org/Small && says '^org/Small at c0ffee[0-9a-f]*: 4 files' '^all is in models/Small; seqtopk knows it as Small' &&
        same org/Small models/Small config.json generation_config.json tokenizer.json model.safetensors &&
        [ -f models/org/Small/config.json ] && [ ! -s err ] && ! grep -q '^GET .*/resolve/main/' log
}
check "a model in one file comes, and has both its names" one_file

renamed() {
    gives 0 model old/Small --to renamed && says '^old/Small at c0ffee' &&
        same org/Small renamed config.json generation_config.json tokenizer.json model.safetensors
}
check "a model that its server knows by another name now" renamed

found_by_name() {
    echo 'return sweep { name = "t", models = { "Small", "org/Small" }, K = 2, routers = { topk() }, tasks = { nll { file = "t.jsonl" } } }' >r.lua
    echo '{"text": "a b c d"}' >t.jsonl
    "$seqtopk" plan r.lua >out 2>err
    ! grep -q 'not found' err && grep -q 'models/Small/config.json\|models/org/Small/config.json' err
}
check "seqtopk finds it under models/" found_by_name

sharded() {
    for mode in '' cut/2500/ flaky/1/ norange/; do
        rm -rf models
        gives 0 model org/Large && same org/Large models/Large config.json tokenizer.json model.safetensors.index.json \
            model-00001-of-00002.safetensors model-00002-of-00002.safetensors && continue
        echo "mode: $mode" >>err
        return 1
    done
    mode=
}
check "a model in shards comes whole from a server that cuts, fails, or knows no Range" sharded

model_again() {
    mode=
    : >log
    gives 0 model org/Large && says 'model-00002-of-00002.safetensors: there already' 'config.json: there already' &&
        ! grep -q '^GET' log || return 1
    head -c 3000 www/org/Large/model-00002-of-00002.safetensors >models/Large/model-00002-of-00002.safetensors
    head -c 2000 www/org/Large/model-00002-of-00002.safetensors >models/Large/model-00002-of-00002.safetensors.part
    gives 0 model org/Large && says 'c0ffee[0-9a-f]*: 1 files' && grep -q '^GET.*00002.safetensors bytes=2000-' log &&
        cmp -s models/Large/model-00002-of-00002.safetensors www/org/Large/model-00002-of-00002.safetensors
}
check "only what is missing or cut is fetched again" model_again

wrong_weights() {
    rm -rf models
    cp www/org/Large/model-00001-of-00002.safetensors keep
    mode=wrong/
    refused 1 'org/Large: .*: what .* gives is not right: its [a-zA-Z0-9 -]* is [0-9a-f]*, and should be [0-9a-f]*$' model org/Large &&
        [ ! -e models/Large/config.json ]
    wrong_weights_rc=$?
    mode=
    return $wrong_weights_rc
}
check "wrong bytes are refused, and the folder is no model yet" wrong_weights

# A server that tells neither length nor sum; and a repository whose own file is cut.
cut_weights() {
    rm -rf models
    mode=silent/
    refused 1 'plain/Small: model.safetensors: .*not right: it has [0-9]* bytes, and its header speaks of [0-9]*' \
        model plain/Small --to one
    cut_weights_rc=$?
    mode=
    [ "$cut_weights_rc" = 0 ] && gives 0 model plain/Small --to two && echo cut >two/tokenizer.json &&
        gives 0 model plain/Small --to two && same plain/Small two config.json tokenizer.json model.safetensors || return 1
    head -c 9000 www/org/Small/model.safetensors >t && cp www/org/Small/model.safetensors keep && cp t www/org/Small/model.safetensors
    refused 1 'model.safetensors: .*it has 9000 bytes, and its header speaks of' model org/Small --to three || return 1
    head -c 20 t >www/org/Small/model.safetensors
    refused 1 'model.safetensors: .*is no safetensors file, or is cut within its header' model org/Small --to three
    cut_weights_rc=$?
    cp keep www/org/Small/model.safetensors
    return $cut_weights_rc
}
check "a file that is shorter than its header says is noticed without any sum" cut_weights

gated() {
    refused 1 'gated/Small: the server wants a login (401).*accept its terms at .*/gated/Small, and set HF_TOKEN' model gated/Small &&
        refused 1 'gated/Small: HF_TOKEN is not allowed to read it (403)' env HF_TOKEN=wrongtoken HF_ENDPOINT="$url" "$root/scripts/fetch-model" gated/Small &&
        ! grep -q wrongtoken out err || return 1
    : >log
    gives 0 env HF_TOKEN=secret HF_ENDPOINT="$url" "$root/scripts/fetch-model" gated/Small &&
        same gated/Small models/Small config.json tokenizer.json model.safetensors && ! grep -q secret out err &&
        grep -q '^GET /gated.*127.0.0.1:.*Bearer secret' log && grep -q '^GET .*model.safetensors .* localhost:[0-9]* -$' log &&
        ! grep 'localhost' log | grep -q secret
}
check "a gated model: what to do; the token goes to its server only, and is not printed" gated

no_token() {
    refused 1 'HF_TOKEN has a character that no token has' env HF_TOKEN='a"b' "$root/scripts/fetch-model" a/b && ! grep -q 'a"b' err
}
check "a token that is none is refused, unprinted" no_token

not_there() {
    rm -rf models
    refused 1 'org/None: there is no such model' model org/None &&
        refused 1 "org/Small: it has no revision 'v2'" model org/Small --revision v2 &&
        rm www/org/Large/tokenizer.json && refused 1 'org/Large: it has no tokenizer.json at revision' model org/Large --to x &&
        mv www/org/Small/model.safetensors keep && refused 1 'org/Small: it has neither model.safetensors nor' model org/Small --to y &&
        refused 1 'no connection, 5 times in a row' env HF_ENDPOINT=http://127.0.0.1:1 "$root/scripts/fetch-model" org/Small &&
        refused 1 'is there a network' env HF_ENDPOINT=http://nowhere.invalid "$root/scripts/fetch-model" org/Small
    not_there_rc=$?
    cp keep www/org/Small/model.safetensors
    lines 30 >www/org/Large/tokenizer.json
    return $not_there_rc
}
check "no such model, revision, tokenizer, weights, server: one sentence each" not_there

full_disk() {
    refused 1 'huge/Small: 100000000[01] MB are still to come, and the disk of models/Small has [0-9]* MB free' model huge/Small &&
        [ "$(find models/Small -type f | wc -l)" = 0 ]
}
check "a disk without the room is noticed first" full_disk

taken() {
    rm -rf models && mkdir -p models/Small
    refused 1 'models/Small is there, and is not what fetch-model made of org/Small' model org/Small &&
        gives 0 model org/Small --to models/Small && rm -rf models && gives 0 model org/Small &&
        refused 1 'models/Small is there, and is not what fetch-model made of gated/Small' \
            env HF_TOKEN=secret HF_ENDPOINT="$url" "$root/scripts/fetch-model" gated/Small
}
check "another model of the same last name is left alone" taken

climbing() {
    cp www/org/Large/model.safetensors.index.json keep
    echo '{"weight_map": {"a": "../../x.safetensors"}}' >www/org/Large/model.safetensors.index.json
    refused 1 "names a file '../../x.safetensors', which is not one of this folder" model org/Large --to z || return 1
    echo '{"weight_map": {}}' >www/org/Large/model.safetensors.index.json
    refused 1 'names no safetensors file' model org/Large --to z
    climbing_rc=$?
    cp keep www/org/Large/model.safetensors.index.json
    return $climbing_rc
}
check "an index that leads out of its folder, or nowhere, is refused" climbing

model_misuse() {
    refused 2 'which model' model && refused 2 "'../x' is no model's name" model ../x &&
        refused 2 "'a/b/c' is no model's name" model a/b/c && refused 2 'one model at a time' model a/b c/d &&
        refused 2 "'v 1' is no revision" model a/b --revision 'v 1' && refused 2 'to needs a value' model a/b --to &&
        gives 0 model --help && says '^usage: scripts/fetch-model NAME'
}
check "wrong names and options of fetch-model are refused" model_misuse

plan
