# shellcheck shell=sh
# lib.sh: what the end-to-end tests share; TAP on stdout, for prove. A test begins with
#
#     set -u
#     . "$(dirname "$0")/lib.sh"
#
# and then stands in a folder of its own, which is removed at the end. $seqtopk is the program
# ($SEQTOPK, or build/seqtopk), $root the project. After `gives` and its kin the files out and err
# hold what the last command said.

root=$(cd "$(dirname "$0")/.." && pwd)
seqtopk=$(realpath "${SEQTOPK:-$root/build/seqtopk}")
trash=$(mktemp -d)
trap 'cd /; chmod -R u+w "$trash"; rm -rf "$trash"' EXIT
trap 'exit 1' HUP INT TERM
cd "$trash" || exit 1
unset SEQTOPK_MODELS SEQTOPK_EVALS SEQTOPK_DATA
tests_run=0

# check NAME COMMAND...: a test, which passes where the command succeeds.
check() {
    tests_run=$((tests_run + 1))
    check_name=$1
    shift
    if "$@"; then
        echo "ok $tests_run - $check_name"
    else
        echo "not ok $tests_run - $check_name"
        for check_file in out err; do
            [ ! -f "$check_file" ] || sed "s/^/# $check_file: /" "$check_file"
        done
    fi
}

# gives CODE COMMAND...: its exit code is CODE.
gives() {
    gives_want=$1
    shift
    "$@" >out 2>err
    gives_got=$?
    [ "$gives_got" -eq "$gives_want" ] && return
    echo "exit code $gives_got, not $gives_want" >>err
    return 1
}

# fails CODE PATTERN COMMAND...: besides, nothing on stdout, and one sentence of ours on stderr that
# matches. A crash has another code.
fails() {
    fails_code=$1
    fails_pattern=$2
    shift 2
    gives "$fails_code" "$@" && [ ! -s out ] && grep -q -e "^seqtopk: .*$fails_pattern" err &&
        [ "$(grep -c '^seqtopk: ' err)" -eq 1 ]
}

# says PATTERN...: each pattern has a line on stdout of the last command that matches.
says() {
    for says_pattern; do
        grep -q -e "$says_pattern" out && continue
        echo "no line on stdout matches: $says_pattern" >>err
        return 1
    done
}

# skip NAME REASON: a test that cannot run here; counted by scripts/run-tests.
skip() {
    tests_run=$((tests_run + 1))
    echo "ok $tests_run - $1 # SKIP $2"
    [ -z "${SEQTOPK_SKIPS:-}" ] || echo "# SKIP $1: $2" >>"$SEQTOPK_SKIPS"
}

# plan: how many tests there were; the last line of every file. One that stops before fails.
plan() {
    echo "1..$tests_run"
}
