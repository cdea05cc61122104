#!/bin/sh
# A GPU beside the CPU, end to end, where SEQTOPK_TEST_DEVICE names one: the two write databases that
# agree on every selection (parity.c says how that is read), and what is missing or wrong there costs
# nothing that was computed. Without a GPU the CPU stands in its place, by the plain form of its
# products, which rounds otherwise. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
parity=$(dirname "$seqtopk")/parity
olmoe=$root/results/models/tiny-olmoe-2k
qwen=$root/results/models/tiny-qwen2moe-2k
device=${SEQTOPK_TEST_DEVICE:-cpu}
sql() { sqlite3 -bail "$1" "$2"; }
is() { # SQL WANTED DB
    is_got=$(sql "$3" "$1")
    [ "$is_got" = "$2" ] || { echo "$1: $is_got, not $2" >>err; return 1; }
}

# ---- the same selections ----

# Each of the first texts is a task, so that its experts are counted apart; the others are one.
alone=1 together=3 Ks=4
[ "$device" = cpu ] || alone=6 together=8 Ks='4, 2'
: >tasks
for i in $(seq 1 $alone); do
    sed -n "$((i * 9))p" "$root/recipes/texts.jsonl" >"text$i.jsonl"
    printf 'nll { file = "text%d.jsonl" }, ' "$i" >>tasks
done
sed -n "2,$((together + 1))p" "$root/recipes/texts.jsonl" >texts.jsonl
printf 'nll { file = "texts.jsonl" }' >>tasks

# A router of a recipe's own: the K best of each token.
cat >best.lua <<'END'
local best = router { name = "best", scope = "token", min = K, max = K, select = function(scores, T, N, K)
  local all, out = {}, {}
  for e = 1, N do all[e] = e end
  table.sort(all, function(a, b)
    if scores[1][a] ~= scores[1][b] then return scores[1][a] > scores[1][b] end
    return a < b
  end)
  for i = 1, K do out[i] = all[i] end
  return { out }
end }
END
recipe() { # MODELS K ROUTERS
    cat best.lua
    printf 'return sweep { name = "g", models = { %s }, K = { %s }, routers = { %s },\n  tasks = { %s } }\n' \
        "$1" "$2" "$3" "$(cat tasks)"
}
wide='min = 0, max = N'
recipe "\"$olmoe\", \"$qwen\"" "$Ks" "topk(), seqtopk { mode = \"global\" }, seqtopk { mode = \"global\", $wide },
    seqtopk { mode = \"online\" }, seqtopk { mode = \"online\", $wide }, seqtopk { mode = \"strict\" },
    seqtopk { mode = \"strict\", $wide }, seqtopk { mode = \"online\", prefill = \"global\" },
    batchtopk { batch = 3 }, topp(), xmoe { threshold = 0.5 }, expert_choice(), best" >routers.lua

# Models that have learnt cutoffs.
learnt() { # MODEL N
    mkdir -p "learnt-$2" && ln -s "$1"/* "learnt-$2/" && awk -v n="$2" 'BEGIN {
        printf "{\"version\": 1, \"K\": 4, \"cutoffs\": ["
        for (l = 0; l < 4; l++) {
            printf "%s[", l ? ", " : ""
            for (e = 0; e < n; e++) printf "%s%g", e ? ", " : "", -3 + e % 7 / 10
            printf "]"
        }
        print "]}" }' >"learnt-$2/cutoffs.json"
}
learnt "$olmoe" 64 && learnt "$qwen" 60
recipe '"learnt-64", "learnt-60"' 4 'threshold()' >learnt.lua

# As the other device computes: the GPU, or the CPU in its place.
there() {
    if [ "$device" = cpu ]; then
        SEQTOPK_PROCESSOR=plain "$seqtopk" "$@"
    else
        "$seqtopk" "$@" --device "$device"
    fi
}
agree() { # RECIPE: what they say is printed either way
    agree_name=$(basename "$1" .lua)
    gives 0 "$seqtopk" run "$1" --db "$agree_name-one.db" && gives 0 there run "$1" --db "$agree_name-two.db" || return 1
    gives 0 "$parity" "$1" cpu "$agree_name-one.db" "$device" "$agree_name-two.db"
    agree_rc=$?
    cat out
    rm -f out
    return $agree_rc
}
check "all routers select the same on both devices, but for ties" agree routers.lua
check "and so does the one whose cutoffs are learnt" agree learnt.lua

# Two experts that score the same, to the bit, in the last layer: a token may have either. The first is
# one that many tokens have.
make_twins() { # rows of 256 in bfloat16
    mkdir twins && cp "$olmoe"/*.json twins/ && cp "$olmoe/model.safetensors" twins/ || return 1
    twin=$(sql routers-one.db "SELECT expert FROM expert_load WHERE layer = 3 AND expert < 63 AND cell IN
        (SELECT n FROM cell WHERE router = 'topk' AND model LIKE '%olmoe%') GROUP BY expert ORDER BY min(tokens) DESC LIMIT 1")
    twins_header=$(od -An -tu8 -N8 twins/model.safetensors | tr -d ' ')
    twins_at=$(head -c $((twins_header + 8)) twins/model.safetensors |
        grep -ao '"model.layers.3.mlp.gate.weight":{[^}]*"data_offsets":\[[0-9]*' | grep -o '[0-9]*$')
    twins_at=$((twins_header + 8 + twins_at))
    tail -c +$((twins_at + twin * 512 + 1)) "$olmoe/model.safetensors" | head -c 512 >row &&
        dd if=row of=twins/model.safetensors bs=1 seek=$((twins_at + 63 * 512)) conv=notrunc 2>/dev/null
}
tied() {
    make_twins && recipe '"twins"' 4 'topk()' >twins.lua && gives 0 "$seqtopk" run twins.lua --db twins-one.db &&
        gives 0 there run twins.lua --db twins-two.db || return 1
    gives 0 "$parity" twins.lua cpu twins-one.db "$device" twins-two.db && says '^# all .* pairs, [0-9]* differ' || return 1
    before=$(sed -n 's/^# all .* pairs, \([0-9]*\) differ, .*/\1/p' out)
    is "SELECT min(a.tokens > b.tokens) FROM expert_load a JOIN expert_load b USING (cell, layer) WHERE layer = 3
        AND a.expert = $twin AND b.expert = 63" 1 twins-one.db && cp twins-two.db tied.db &&
        sql tied.db "UPDATE expert_load SET tokens = tokens + CASE expert WHEN $twin THEN -1 ELSE 1 END WHERE layer = 3
            AND expert IN ($twin, 63)" &&
        gives 0 "$parity" twins.lua cpu twins-one.db "$device" tied.db &&
        says "^# all .* pairs, $((before + 2 * (alone + 1))) differ, $((before + 2 * (alone + 1))) of them at ties"
}
check "pairs that differ at a tie are counted, and are no fault" tied

# What would be wrong is seen: in a copy of one of the databases, on one cell of the first text.
cell="(SELECT n FROM cell WHERE task LIKE '%text1%')"
spoilt() { # DB PATTERN SQL
    rm -f spoilt.db && cp "twins-$1.db" spoilt.db && sql spoilt.db "$3" || return 1
    if [ "$1" = two ]; then
        gives 1 "$parity" twins.lua cpu twins-one.db "$device" spoilt.db
    else
        gives 1 "$parity" twins.lua cpu spoilt.db "$device" twins-two.db
    fi && grep -q "^# parity: cell .*$2" out
}
check "a token with another expert would be seen" spoilt two 'layer 2, token 10: the count is off by 1, and [01] pairs' \
    "UPDATE token SET by_layer = '4,4,5,4' WHERE cell = $cell AND doc = 0 AND pos = 10"
check "so would one with another instead" spoilt two 'layer 1, expert [0-9]*: the count is off by -\?40, and [0-9] pairs' \
    "UPDATE expert_load SET tokens = tokens + CASE expert WHEN (SELECT expert FROM expert_load WHERE cell = $cell AND
        layer = 1 ORDER BY tokens DESC LIMIT 1) THEN -40 ELSE 40 END WHERE cell = $cell AND layer = 1 AND expert IN
        (SELECT expert FROM expert_load WHERE cell = $cell AND layer = 1 ORDER BY tokens DESC LIMIT 2)"
check "and other weights with the same counts" spoilt two 'layer 3, expert 7: .* pairs weigh' \
    "UPDATE expert_load SET weight = weight + 0.01 WHERE cell = $cell AND layer = 3 AND expert = 7"
check "and a loss that is off" spoilt two 'document 0, loss of token 12' \
    "UPDATE token SET nll = nll + 3e-4 WHERE cell = $cell AND doc = 0 AND pos = 12"
check "and a first database that the CPU did not compute" spoilt one 'has not what the CPU computes' \
    "UPDATE token SET by_layer = '4,4,5,4' WHERE cell = $cell AND doc = 0 AND pos = 10"

# ---- what is wrong with a model ----

broken() { # WORDS COMMAND...: a copy of a model, after the command in it; nothing is begun
    broken_words=$1
    shift
    rm -rf broken x.db && cp -r "$olmoe" broken && (cd broken && "$@") || return 1
    recipe '"broken"' 4 'topk()' >broken.lua
    fails 1 "$broken_words" "$seqtopk" run broken.lua --db x.db --device "$device" && [ ! -e x.db ]
}
numbers() { sed -i 's/"dtype":"BF16"/"dtype":"I16" /g' model.safetensors; }
family() { sed -i 's/"model_type": *"olmoe"/"model_type":"llama"/' config.json; }
check "weights of a kind that cannot be computed with are named, with those that can" broken 'dtype.*F32, BF16 and F16 are allowed' numbers
check "so is an unknown family" broken 'llama.*olmoe, qwen2_moe, mixtral and qwen3_moe' family
check "and an unknown kind of arithmetic" fails 1 'dtype.*int8.*float32' "$seqtopk" run routers.lua --db x.db --device "$device" --dtype int8

# ---- a GPU ----

gpu_check() { # as check
    if [ "$device" != cpu ]; then
        check "$@"
    else
        skip "$1" "no GPU to test on"
    fi
}
cat >p.lua <<'END'
return pretrain { name = "p", out = "made", model = { family = "olmoe", layers = 1, hidden = 32, heads = 2,
  experts = 8, top_k = 2, expert_ffn = 16, context = 128 }, data = { file = "texts.jsonl", text = "text" },
  batch = 8, steps = 1, lr = 1e-3, tokenizer = { vocab = 320 } }
END
not_there() {
    fails 1 "'cuda:77' cannot be used: there \(is\|are\) [1-9]" "$seqtopk" generate Hello --model "$olmoe" --device cuda:77 &&
        fails 1 "'cuda:77' cannot be used: there \(is\|are\) [1-9]" "$seqtopk" train p.lua --db p.db --device cuda:77 &&
        [ ! -e p.db ] && [ ! -e made ]
}
gpu_check "a GPU that is not there is named before anything is begun, in generate and train too" not_there

# Takes a GPU's memory but for some MB and keeps it, or says how much is free. By the driver alone.
cat >gpu.c <<'END'
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int (*init)(unsigned), (*get)(int *, int), (*retain)(void **, int), (*current)(void *),
    (*info)(size_t *, size_t *), (*take)(unsigned long long *, size_t);
static void *find(void *lib, const char *name)
{
    void *f = dlsym(lib, name);
    if (!f)
        exit((fprintf(stderr, "no %s\n", name), 2));
    return f;
}
int main(int argc, char **argv)
{
    void *lib = dlopen("libcuda.so.1", RTLD_NOW), *context;
    size_t left = argc > 1 ? strtoul(argv[1], NULL, 10) << 20 : 0, there = 0, all = 0;
    unsigned long long at;
    int device;
    if (!lib)
        return 2;
    *(void **)&init = find(lib, "cuInit");
    *(void **)&get = find(lib, "cuDeviceGet");
    *(void **)&retain = find(lib, "cuDevicePrimaryCtxRetain");
    *(void **)&current = find(lib, "cuCtxSetCurrent");
    *(void **)&info = find(lib, "cuMemGetInfo_v2");
    *(void **)&take = find(lib, "cuMemAlloc_v2");
    if (init(0) || get(&device, 0) || retain(&context, device) || current(context) || info(&there, &all))
        return 2;
    if (argc < 2) {
        printf("%zu\n", there >> 20);
        return 0;
    }
    for (size_t step = (size_t)1 << 30; step >= (size_t)1 << 21; step /= 2)
        while (info(&there, &all) == 0 && there >= left + step && take(&at, step) == 0)
            ;
    printf("full\n");
    fflush(stdout);
    pause();
    return 0;
}
END
filler=
full() { # MB: that much is left
    : >filled
    ./gpu "$1" >>filled 2>&1 &
    filler=$!
    n=0
    until grep -q full filled; do
        n=$((n + 1))
        [ $n -lt 2000 ] || { echo "the memory could not be filled" >>err; return 1; }
        sleep 0.01
    done
}
empty() {
    kill "$filler" 2>/dev/null
    wait "$filler" 2>/dev/null
    filler=
}
trap 'empty; cd /; rm -rf "$trash"' EXIT

# A model of 1.1 GB in float32, nearly all of it the embedding: zeros, which take no room on the disk.
make_big() {
    mkdir -p big && cp "$olmoe/tokenizer.json" big/ && cat >big/config.json <<'END' || return 1
{"model_type": "olmoe", "hidden_act": "silu", "num_hidden_layers": 1, "hidden_size": 1024, "vocab_size": 262144,
 "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 2048, "num_experts": 8,
 "num_experts_per_tok": 2, "rms_norm_eps": 1e-5, "intermediate_size": 8, "attention_bias": false, "clip_qkv": null,
 "rope_theta": 10000.0, "norm_topk_prob": false, "tie_word_embeddings": true, "torch_dtype": "float32"}
END
    awk 'function add(name, rows, columns,   n) {
            n = rows * (columns ? columns : 1) * 4
            printf "%s\"model.%s.weight\":{\"dtype\":\"F32\",\"shape\":[%d%s],\"data_offsets\":[%.0f,%.0f]}", at ? "," : "{",
                name, rows, columns ? "," columns : "", at, at + n
            at += n
        }
        BEGIN {
            add("embed_tokens", 262144, 1024); add("norm", 1024, 0)
            l = "layers.0."
            add(l "input_layernorm", 1024, 0); add(l "post_attention_layernorm", 1024, 0)
            split("q k v o", part, " ")
            for (i = 1; i <= 4; i++) add(l "self_attn." part[i] "_proj", 1024, 1024)
            add(l "self_attn.q_norm", 1024, 0); add(l "self_attn.k_norm", 1024, 0)
            add(l "mlp.gate", 8, 1024)
            for (e = 0; e < 8; e++) {
                add(l "mlp.experts." e ".gate_proj", 8, 1024); add(l "mlp.experts." e ".up_proj", 8, 1024)
                add(l "mlp.experts." e ".down_proj", 1024, 8)
            }
            printf "}"
        }' >header
    big_header=$(wc -c <header)
    big_data=$(grep -o '[0-9]*\]}}$' header | grep -o '^[0-9]*')
    # The header's length, eight bytes, the lowest first.
    awk -v n="$big_header" 'BEGIN { for (i = 0; i < 8; i++) { printf "\\%03o", n % 256; n = int(n / 256) } }' >length
    # shellcheck disable=SC2059 # the bytes are the format
    { printf "$(cat length)" && cat header; } >big/model.safetensors &&
        truncate -s $((8 + big_header + big_data)) big/model.safetensors
}
no_room() {
    recipe "\"big\", \"$olmoe\"" 4 'topk()' >big.lua && full 1150 && gives 1 "$seqtopk" run big.lua --db big.db --device "$device"
    no_room_rc=$?
    empty
    [ $no_room_rc = 0 ] &&
        is "SELECT count(*) FROM v_cells WHERE model = 'big' AND status = 'failed' AND error GLOB 'out of memory: *big needs 1.1 GB in float32 and about * for one text, and of the * of $device * are free*'" $((alone + 1)) big.db &&
        is "SELECT count(*) FROM v_cells WHERE model <> 'big' AND status = 'done'" $((alone + 1)) big.db
}
no_room_to_write() {
    full 1150 && fails 1 'out of memory: .*big needs 1.1 GB in float32 and about .* are free' \
        "$seqtopk" generate Hello --model ./big --device "$device"
    no_room_rc=$?
    empty
    return $no_room_rc
}
no_room_to_train() {
    printf 'return sweep { name = "n", models = "big", K = 2, routers = topk(), tasks = nll { file = "texts.jsonl" },
        train = sft { data = { file = "texts.jsonl", text = "text" }, steps = 1, lr = 1e-5, length = 64 } }\n' >no.lua
    full 1150 && fails 1 'out of memory: big needs at least 4.4 GB to be trained in float32 with adamw, and of the .* are free' \
        "$seqtopk" train no.lua --db no.db --device "$device" --checkpoint-seconds never
    no_room_rc=$?
    empty
    return $no_room_rc
}
room_again() {
    gives 0 "$seqtopk" run big.lua --db big.db --device "$device" --retry-failed &&
        grep -q "g: $((alone + 1)) cells computed, $((alone + 1)) in the database already, 0 failed" err
}

# All experts of 9000 tokens: a batch wants more than 1 GB.
cp "$root/recipes/texts.jsonl" many.jsonl
printf 'return sweep { name = "h", models = "%s", K = 64, routers = topk(), tasks = { nll { file = "many.jsonl" }, nll { file = "texts.jsonl" } } }\n' \
    "$olmoe" >h.lua
tight() { # DB NOTE CELLS COMMAND...: with less and less memory, until so many cells note it
    tight_db=$1 tight_sql="SELECT count(*) = $3 FROM v_cells WHERE status = 'done' AND note GLOB '$2'"
    shift 3
    for mb in 1600 1300 1100 950; do
        rm -f "$tight_db" "$tight_db-wal" "$tight_db-shm"
        full $mb || return 1
        "$@" --db "$tight_db" >out 2>err
        tight_rc=$?
        empty
        echo "# with $mb MB left: exit code $tight_rc, $(sqlite3 "$tight_db" 'SELECT group_concat(DISTINCT note) FROM v_cells' 2>&1)"
        # Where even the smallest batch has no room, that is what is said.
        [ $tight_rc = 0 ] || grep -q 'out of memory' err || return 1
        [ $tight_rc != 0 ] || [ "$(sql "$tight_db" "$tight_sql")" != 1 ] || return 0
    done
    echo "no cell noted that the memory was short" >>err
    return 1
}
halved() {
    gives 0 "$seqtopk" run h.lua --db h1.db --device "$device" && is 'SELECT count(note) FROM v_cells' 0 h1.db &&
        tight h2.db 'the memory had room for [0-9]* tokens at a time, not for 8192' 2 "$seqtopk" run h.lua --device "$device" &&
        is "ATTACH 'h2.db' AS o; SELECT count(*) = (SELECT count(*) FROM v_tokens) AND max(abs(a.nll - b.nll)) < 2e-4
            AND sum(a.experts <> b.experts) = 0 FROM v_tokens a JOIN o.v_tokens b USING (cell_id, doc, pos)" 1 h1.db
}

# Texts that go on to their last token: a stop that never comes.
mkdir evals
cat >evals/toy.lua <<'END'
return { name = "toy", about = "made-up problems", license = "MIT", source = "here", file = "toy.jsonl",
  forms = { greedy = { version = 1, about = "made up", prompt = "Question: {q}\nAnswer:",
    generate = { max_tokens = 1000, stop = { "~~~~~~" } }, measures = { { "exact", name = "number",
      find = "#### (-?[0-9]+)", take = "first", reference = "{a}", golden = { { output = "#### 5", found = "5" } } } } } } }
END
export SEQTOPK_EVALS="$PWD/evals" SEQTOPK_DATA="$PWD"
for i in 1 2 3 4 5 6; do
    echo "{\"q\": \"Tom has $i apples and buys 4 more. How many has he?\", \"a\": \"$((i + 4))\"}"
done >toy.jsonl
printf 'return sweep { name = "w", models = "%s", K = { 4, 2 }, tasks = "toy/greedy", routers = { topk(),
    seqtopk { mode = "online" }, seqtopk { mode = "strict", %s } } }\n' "$olmoe" "$wide" >w.lua
# To the letter but for two, since a GPU rounds a prompt otherwise beside others; and nothing is missing.
same_texts() { # DB DB
    is "ATTACH '$2' AS o; SELECT count(*) = 36 AND sum(a.output = b.output) >= 34 FROM v_samples a JOIN o.v_samples b USING (cell_id, doc)" 1 "$1" &&
        is "SELECT count(*) || min(status) FROM v_cells" 6done "$2"
}
fewer_texts() {
    gives 0 "$seqtopk" run w.lua --db w1.db --device "$device" &&
        tight w2.db 'the memory had room for [0-9]* texts at a time, not for 1024' 6 "$seqtopk" run w.lua --device "$device" --batch 1024 &&
        same_texts w1.db w2.db
}

kept() { sql k.db 'SELECT s.rowid, c.id, s.doc FROM sample s JOIN cell c ON c.n = s.cell' | LC_ALL=C sort; }
# Two processes on one GPU, of which one is killed when both have written something.
killed() {
    free_before=$(./gpu)
    "$seqtopk" run w.lua --db k.db --device "$device" --jobs 2 --batch 2 >out 2>err &
    pid=$!
    n=0
    until [ "$(sqlite3 k.db 'SELECT count(DISTINCT cell) > 1 FROM sample' 2>/dev/null)" = 1 ] || [ $n -gt 6000 ]; do
        n=$((n + 1))
        sleep 0.01
    done
    victim=$(ps -o pid= --ppid $pid | head -n 1 | tr -d ' ')
    free_during=$(./gpu)
    kill -KILL "$victim" || return 1
    kept >before.txt
    wait $pid
    killed_rc=$?
    free_after=$(./gpu)
    echo "# $free_before MB were free, $free_during with two processes, $free_after after them"
    [ $killed_rc = 0 ] || { echo "exit code $killed_rc" >>err; return 1; }
    grep -q "warning: process [12] of 2 ($device) was ended by signal 9 (Killed); the others go on with its cells" err &&
        grep -q 'w: 6 cells computed, 0 in the database already, 0 failed' err && same_texts w1.db k.db &&
        kept >after.txt &&
        [ -s before.txt ] && [ "$(LC_ALL=C comm -23 before.txt after.txt | wc -l)" = 0 ] &&
        [ $((free_before - free_after)) -lt 256 ] && [ "$free_during" -lt "$free_after" ]
}

if [ "$device" != cpu ] && ${CC:-cc} -o gpu gpu.c -ldl && ./gpu >/dev/null && make_big; then
    check "a model for which the GPU has no room is told with what it needs, and the others are computed" no_room
    check "so it is where a text is to be written" no_room_to_write
    check "and where one is to be trained" no_room_to_train
    check "when there is room again, the next run computes it" room_again
    check "a batch without room is halved, and the cells say so" halved
    check "fewer texts are written side by side where the memory is short" fewer_texts
    check "one of two processes on a GPU is killed: the other does its cells, and its memory is free again" killed
else
    skip "memory of a GPU that is missing, and processes on it that are killed" "no GPU to test on, or no compiler"
fi

plan
