# shellcheck shell=sh
# fetch-lib.sh: what the tests of the downloads share, after lib.sh: a server of their own at $url
# over the folder www, its requests in log; all contents are invented, and no other network is asked.

unset HF_TOKEN HF_ENDPOINT DATA
export no_proxy='*' FETCH_WAIT=0 FETCH_STALL=1

mkdir www
: >log
perl "$root/tests/http-server.pl" www port log &
server=$!
trap 'kill $server 2>/dev/null; cd /; chmod -R u+w "$trash"; rm -rf "$trash"' EXIT
server_tries=0
until [ -s port ]; do
    server_tries=$((server_tries + 1))
    [ "$server_tries" -lt 100 ] || exit 1
    sleep 0.05
done
# shellcheck disable=SC2034
url=http://127.0.0.1:$(cat port)

# lines N: as many JSON lines.
lines() {
    perl -e 'print qq({"question": "How much is $_ and 1?", "answer": "#### ) . ($_ + 1) . qq("}\n)
        for 1 .. $ARGV[0]' "$1"
}

# refused CODE PATTERN COMMAND...: one sentence of the script's own on stderr that matches, and nothing
# of curl's.
refused() {
    refused_code=$1
    refused_pattern=$2
    shift 2
    gives "$refused_code" "$@" && grep -q -e "^fetch-[a-z]*: .*$refused_pattern" err &&
        [ "$(grep -c -v '^  ' err)" -eq 1 ]
}
