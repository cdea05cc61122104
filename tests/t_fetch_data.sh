#!/bin/sh
# fetch-data against a server that cuts connections, knows no Range, answers 500 and gives wrong
# bytes: data sets from their homes and from mirrors, and all that can be wrong with them. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/fetch-lib.sh
. "$root/tests/fetch-lib.sh"

sha() { sha256sum <"$1" | cut -d ' ' -f 1; }
mkdir www/toy
lines 400 >www/toy/test.jsonl
lines 20 | gzip -n >www/toy/small.jsonl.gz
# The form of the published file, with other examples.
cat >www/cot.yaml <<'YAML'
dataset_path: toys
doc_to_text: 'Q: {{question}}

  A:'
fewshot_config:
  sampler: first_n
  samples:
  - question: Ann has 3 "red" kites and finds
      2 more. How many kites are there in
      all?
    target: She had 3. Then 3 + 2 = 5. The answer
      is 5.
  - question: A path C:\x costs $7. How much are two?
    target: 2 * 7 is 14. The answer is 14.
filter_list:
- filter:
  - function: regex
    question: none
YAML
cat >shots.want <<'WANT'
{"question": "Ann has 3 \"red\" kites and finds 2 more. How many kites are there in all?", "target": "She had 3. Then 3 + 2 = 5. The answer is 5."}
{"question": "A path C:\\x costs $7. How much are two?", "target": "2 * 7 is 14. The answer is 14."}
WANT

# The scripts beside a list of this test's own. MODE is one of the server's.
mkdir scripts
ln -s "$root/scripts/fetch-data" "$root/scripts/fetch.sh" scripts/
list() { # MODE
    cat <<LIST
set toy https://example.org/toy MIT and more
file toy/test.jsonl $(sha www/toy/test.jsonl) $url/${1}toy/test.jsonl
file toy/small.jsonl.gz $(sha www/toy/small.jsonl.gz) $url/${1}toy/small.jsonl.gz
set other https://example.org/other CC0
shots other/cot.jsonl $(sha shots.want) $url/${1}cot.yaml $(sha www/cot.yaml)
LIST
}
data() { scripts/fetch-data "$@"; }
# fetched MODE...: under each, all files come, whole.
fetched() {
    for fetched_mode; do
        rm -rf data
        list "$fetched_mode" >scripts/data-sets
        gives 0 data && cmp -s data/toy/test.jsonl www/toy/test.jsonl &&
            cmp -s data/toy/small.jsonl.gz www/toy/small.jsonl.gz && cmp -s data/other/cot.jsonl shots.want &&
            [ "$(find data -type f | wc -l)" = 3 ] && continue
        echo "mode: $fetched_mode" >>err
        return 1
    done
}

# ---- what comes, and how ----

plain() {
    fetched '' && says '^toy: https://example.org/toy (licence: MIT and more)$' \
        '^  toy/test.jsonl: [0-9]* bytes$' '^all is in data/' && [ ! -s err ]
}
check "what is published comes, with its licence, worked examples made of YAML" plain

again() {
    : >log
    gives 0 data && says '^  toy/test.jsonl: there already$' '^  other/cot.jsonl: there already$' && [ ! -s log ]
}
check "what is there and right is not asked for again" again

check "a server that is slow, or answers 500 twice, is waited for" fetched slow/ flaky/2/
cut_short() {
    : >log
    fetched cut/3000/ && [ "$(grep -c 'toy/test.jsonl bytes=[0-9]*000-' log)" -ge 3 ] && grep -q 'bytes=3000-' log &&
        grep -q 'toy/test.jsonl: the connection was cut (3000 bytes so far)' err
}
check "a connection cut again and again is gone on with where it was" cut_short
check "a connection that hangs is given up and gone on with" fetched hang/900/

resumed() {
    list '' >scripts/data-sets
    rm -rf data
    mkdir -p data/toy
    head -c 5000 www/toy/test.jsonl >data/toy/test.jsonl.part
    : >log
    gives 0 data toy && cmp -s data/toy/test.jsonl www/toy/test.jsonl && grep -q 'test.jsonl bytes=5000-' log &&
        [ ! -e data/other ]
}
check "what a stopped run left is gone on with" resumed

stopped() {
    list slow/ >scripts/data-sets
    rm -rf data
    gives 124 timeout 0.4 scripts/fetch-data toy || return 1
    kept=$(stat -c %s data/toy/test.jsonl.part)
    [ "$kept" -gt 0 ] && [ ! -e data/toy/test.jsonl ] || return 1
    list '' >scripts/data-sets
    : >log
    gives 0 data toy && cmp -s data/toy/test.jsonl www/toy/test.jsonl && grep -q "test.jsonl bytes=$kept-" log
}
check "a run that is killed leaves what it had, under another name, for the next" stopped

stale_part() {
    for piece in 'head -c 5000 /dev/zero' 'cat www/toy/test.jsonl' 'cat www/toy/test.jsonl www/cot.yaml'; do
        rm -rf data
        mkdir -p data/toy
        $piece >data/toy/test.jsonl.part
        gives 0 data toy && cmp -s data/toy/test.jsonl www/toy/test.jsonl || return 1
    done
    list norange/ >scripts/data-sets
    rm -rf data
    mkdir -p data/toy
    head -c 5000 www/toy/test.jsonl >data/toy/test.jsonl.part
    gives 0 data toy && cmp -s data/toy/test.jsonl www/toy/test.jsonl && grep -q 'cannot go on in the middle' err
}
check "pieces of something else, whole ones, too long ones, and a server without Range" stale_part

wrong_bytes() {
    list wrong/ >scripts/data-sets
    rm -rf data
    mkdir -p data/toy
    echo old >data/toy/test.jsonl
    cp www/toy/small.jsonl.gz data/toy/
    refused 1 "toy/test.jsonl: what $url/wrong/toy/test.jsonl gives is not right: its SHA-256 is [0-9a-f]*, and should be $(sha www/toy/test.jsonl); the file that was there, not the right one either, is left" data toy &&
        says '^  toy/small.jsonl.gz: there already' && [ "$(cat data/toy/test.jsonl)" = old ] &&
        [ ! -e data/toy/test.jsonl.part ]
}
check "wrong bytes: file and both sums are named, the old file stays" wrong_bytes

replaced() {
    list '' >scripts/data-sets
    gives 0 data toy && says 'toy/test.jsonl: [0-9]* bytes, in place of another that was not right' &&
        cmp -s data/toy/test.jsonl www/toy/test.jsonl
}
check "a wrong file is replaced by the right one" replaced

gone() {
    list 'nowhere/' >scripts/data-sets
    rm -rf data
    refused 1 'other/cot.jsonl: .*the server answered 404' data other || return 1
    list 'flaky/99/' >scripts/data-sets
    refused 1 'other/cot.jsonl: .*the server answered 500, 5 times in a row' data other || return 1
    sed 's,http://[^/]*,http://127.0.0.1:1,' scripts/data-sets >t && mv t scripts/data-sets
    refused 1 'no connection, 5 times in a row; is there a network' data other || return 1
    sed 's,http://[^/]*,http://nowhere.invalid,' scripts/data-sets >t && mv t scripts/data-sets
    refused 1 'the name of this host is not known' data other && [ ! -s out.jsonl ]
}
check "404, a server that stays broken, no connection, an unknown host: one sentence each" gone

bad_yaml() {
    cp www/cot.yaml cot.good
    for form in 's/target: She/target: "She/' 's/^      all/    all/' 's/  samples:/  sample:/' '/^    target: She/,/^      is 5/d'; do
        sed "$form" cot.good >www/cot.yaml
        list '' >scripts/data-sets
        rm -rf data
        refused 1 'other/cot.jsonl: .*cot.yaml is not of the form that is understood' data other &&
            [ ! -e data/other/cot.jsonl ] || return 1
    done
    sed 's/kites/birds/' cot.good >www/cot.yaml
    list '' >scripts/data-sets
    refused 1 'other/cot.jsonl: what was made of .*cot.yaml is not right: its SHA-256' data other
    bad_yaml_rc=$?
    cp cot.good www/cot.yaml
    list '' >scripts/data-sets
    return $bad_yaml_rc
}
check "YAML of another form, or other examples, is refused" bad_yaml

mirror_folder() {
    list 'nowhere/' >scripts/data-sets
    rm -rf data mirror
    mkdir -p mirror/toy mirror/other
    cp www/toy/* mirror/toy/ && cp shots.want mirror/other/cot.jsonl
    : >log
    gives 0 env SEQTOPK_DATA=mirror scripts/fetch-data toy --to "got it" other && cmp -s 'got it/toy/test.jsonl' www/toy/test.jsonl &&
        cmp -s 'got it/other/cot.jsonl' shots.want && [ ! -s log ] && says '^all is in got it/; SEQTOPK_DATA=got it'
}
check "a mirror that is a folder: nothing else is asked" mirror_folder

mirror_url() {
    mkdir -p www/mirror
    cp -r mirror/* www/mirror/
    gives 0 env SEQTOPK_DATA="$url/cut/3000/mirror/" scripts/fetch-data && cmp -s data/toy/test.jsonl www/toy/test.jsonl &&
        cmp -s data/other/cot.jsonl shots.want && ! grep -q nowhere log
}
check "a mirror that is a URL, and cuts connections" mirror_url

mirror_without_shots() {
    rm -rf data mirror/other www/mirror/other
    list '' >scripts/data-sets
    for m in mirror "$url/mirror"; do
        rm -rf data
        gives 0 env SEQTOPK_DATA="$m" scripts/fetch-data && cmp -s data/other/cot.jsonl shots.want &&
            grep -q 'other/cot.jsonl: the mirror does not have it; from its home' err || return 1
    done
}
check "worked examples that a mirror does not have come from their home" mirror_without_shots

mirror_bad() {
    rm -rf data
    echo wrong >mirror/toy/test.jsonl
    rm mirror/toy/small.jsonl.gz
    gives 1 env SEQTOPK_DATA=mirror scripts/fetch-data toy && [ ! -e data/toy/test.jsonl ] &&
        grep -q '^fetch-data: toy/test.jsonl: what the mirror mirror (SEQTOPK_DATA) has is not right: its SHA-256 is' err &&
        grep -q '^fetch-data: toy/small.jsonl.gz: the mirror mirror (SEQTOPK_DATA) has no such file$' err &&
        refused 1 'SEQTOPK_DATA says nowhere, which is neither a folder nor a URL' env SEQTOPK_DATA=nowhere scripts/fetch-data &&
        refused 1 'SEQTOPK_DATA and the folder to write to are both mirror' env SEQTOPK_DATA=mirror scripts/fetch-data --to ./mirror
}
check "a mirror that is wrong, lacks files, is not there, or is the target" mirror_bad

misuse() {
    refused 2 "there is no data set 'toys'; there are: toy other" data toys &&
        refused 2 "there is no option '--all'" data --all && refused 2 'to needs a folder' data --to &&
        gives 0 data --help && says '^usage: scripts/fetch-data'
}
check "wrong names and options are refused" misuse

no_place() {
    rm -rf data
    echo file >data
    refused 1 'data: no such folder can be made' data toy || return 1
    rm data && mkdir data && echo file >data/toy
    refused 1 'data/toy/small.jsonl.gz: its folder cannot be made or written' data toy || gives 1 data toy
    grep -q '^fetch-data: data/toy/test.jsonl: its folder cannot be made or written$' err || return 1
    rm -rf data && mkdir data && exec 8<data && flock -n 8 &&
        refused 1 'another fetch is at work in data' data toy
    no_place_rc=$?
    exec 8<&-
    return $no_place_rc
}
check "a folder that cannot be, and one where another run is at work" no_place

readonly_folder() {
    rm -rf data && mkdir -p data/toy && chmod 555 data/toy
    gives 1 data toy && grep -q 'data/toy/test.jsonl: its folder cannot be made or written' err
}
if [ "$(id -u)" = 0 ]; then
    skip "a folder that may not be written" "root may write everywhere"
else
    check "a folder that may not be written" readonly_folder
fi

no_curl() {
    mkdir -p bin
    for tool in sh dirname sed paste cat mkdir mktemp rm; do
        ln -sf "$(command -v $tool)" bin/
    done
    refused 1 'curl is not installed; install it: apt-get install curl' env PATH="$trash/bin" scripts/fetch-data &&
        refused 1 'curl is not installed; install it: apt-get install curl' env PATH="$trash/bin" "$root/scripts/fetch-model" a/b
}
check "without curl: what to install" no_curl

# The list of the project itself, against the files as they should be.
shared=${SEQTOPK_SHARED:-$root/../shared}
sums() {
    awk '$1 == "file" { print $3 "  " $2 }' "$root/scripts/data-sets" >real.sums
    [ "$(wc -l <real.sums)" = 8 ] && (cd "$shared/data" && sha256sum --quiet -c "$trash/real.sums") >out 2>&1
}
if [ -d "$shared/data/esft" ]; then
    check "the sums in scripts/data-sets are those of the files" sums
else
    skip "the sums in scripts/data-sets are those of the files" "no data under $shared"
fi

plan
