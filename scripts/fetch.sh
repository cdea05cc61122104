# shellcheck shell=sh
# fetch.sh: what fetch-data and fetch-model share: one file from a URL, in as many pieces as the
# network makes of it.
#
# Invariant: a file has its name only once its size and sum were found right. Until then it is
# NAME.part, with which the next try, or the next run, goes on; whatever stood under the name before
# stays till then. Functions that fail return 1 and leave one sentence in $why.
# Leaves out: which files there are, what is printed about them.
#
# For the tests: FETCH_WAIT, the seconds before the second try (twice as many before each further
# one), and FETCH_STALL, the seconds that a connection may bring less than 1000 bytes each.

me=${0##*/}
fetch_tries=5 # in a row that bring nothing

say() { echo "$me: $*" >&2; }
note() { echo "  $*" >&2; }
die() {
    say "$*"
    exit 1
}
misused() {
    say "$*"
    exit 2
}

need_curl() {
    command -v curl >/dev/null ||
        die "curl is not installed; install it: apt-get install curl ca-certificates"
}

# lock DIR: one run at a time fills a folder; the lock goes with the process.
lock() {
    exec 9<"$1"
    flock -n 9 || die "another fetch is at work in $1; wait for it, or stop it"
}

# size_of FILE: its bytes, 0 where there is none.
size_of() {
    if [ -f "$1" ]; then
        stat -c %s "$1"
    else
        echo 0
    fi
}

sum_of() { # PROGRAM FILE
    "$1" <"$2" | cut -d ' ' -f 1
}

# whole_safetensors FILE SIZE: it is as long as its header says, which tells a file that was cut even
# where the server says nothing of it. A header's length comes first, in 8 bytes.
whole_safetensors() {
    whole_head=$(od -A n -t u8 -N 8 "$1" | tr -d ' ')
    if [ "$2" -lt 8 ] || [ ${#whole_head} -gt 12 ] || [ "$whole_head" -gt $(($2 - 8)) ]; then
        why='it is no safetensors file, or is cut within its header'
        return 1
    fi
    whole_data=$(tail -c +9 "$1" | head -c "$whole_head" | tr -d ' \n' |
        grep -o '"data_offsets":\[[0-9]*,[0-9]*\]' | awk -F '[][,]' '
        $3 + 0 > most { most = $3 + 0 }
        END { printf "%.0f\n", most }')
    [ "$2" -eq $((8 + whole_head + whole_data)) ] && return
    why="it has $2 bytes, and its header speaks of $((8 + whole_head + whole_data))"
    return 1
}

# fits FILE SIZE SUM: the file is as it should be. SUM is a SHA-256, or git's name of the contents
# (40 digits), which is how a repository names its small files; "-" for what is not known.
fits() {
    fits_size=$(size_of "$1")
    if [ "$2" != - ] && [ "$fits_size" != "$2" ]; then
        why="it has $fits_size bytes, and should have $2"
        return 1
    fi
    case ${#3} in
    64) fits_kind=SHA-256 fits_sum=$(sum_of sha256sum "$1") ;;
    40)
        fits_kind='git SHA-1'
        fits_sum=$(printf 'blob %s\0' "$fits_size" | cat - "$1" | sha1sum | cut -d ' ' -f 1)
        ;;
    *) fits_sum=$3 ;;
    esac
    if [ "$fits_sum" != "$3" ]; then
        why="its $fits_kind is $fits_sum, and should be $3"
        return 1
    fi
    case $1 in
    *.safetensors | *.safetensors.part) whole_safetensors "$1" "$fits_size" ;;
    esac
}

# A token goes through a pipe, where `ps` does not show it. curl does not send it on to another host
# that a reply points to.
curl_with() {
    set -- --connect-timeout 20 --speed-limit 1000 --speed-time "${FETCH_STALL:-60}" "$@"
    if [ -n "${token:-}" ]; then
        printf 'header = "Authorization: Bearer %s"\n' "$token" | curl --config - "$@"
    else
        curl "$@" </dev/null
    fi
}

# Whether another try may help, by curl's exit code and the server's; else $why.
may_help() { # RC CODE URL
    case $1/$2 in
    22/408 | 22/429 | 22/5??) why="the server answered $2" ;;
    22/*)
        why="$3: the server answered $2"
        return 1
        ;;
    16/* | 18/* | 52/* | 55/* | 56/* | 92/*) why='the connection was cut' ;;
    28/*) why='nothing came for a while' ;;
    7/* | 35/*) why='no connection' ;;
    33/*) why='this server cannot go on in the middle; from the start again' ;;
    6/*)
        why="$3: the name of this host is not known; is there a network?"
        return 1
        ;;
    23/*)
        why='the file cannot be written; is the disk full?'
        return 1
        ;;
    60/* | 77/*)
        why="$3: the server's certificate is not trusted; is ca-certificates installed?"
        return 1
        ;;
    *)
        why="$3: curl failed with its code $1"
        return 1
        ;;
    esac
}

# download URL PART NAME: all of it, from where PART ends. $resumed: some of it was there before;
# $code: what the server answered last.
download() {
    resumed=
    download_left=$fetch_tries download_wait=${FETCH_WAIT:-1} download_most=$(size_of "$2")
    download_how=-s
    [ ! -t 2 ] || download_how=--progress-bar
    while :; do
        [ "$(size_of "$2")" -eq 0 ] || resumed=1
        download_rc=0
        code=$(curl_with "$download_how" -f -L -C - -o "$2" -w '%{http_code}' "$1") ||
            download_rc=$?
        # 416: PART is as long as the file already, or longer, which not every curl takes for success.
        # What it is worth is for the sum to say.
        [ "$download_rc" != 0 ] && [ "$code" != 416 ] || return 0
        may_help "$download_rc" "$code" "$1" || return 1
        [ "$download_rc" != 33 ] || rm -f "$2"
        download_left=$((download_left - 1))
        if [ "$(size_of "$2")" -gt "$download_most" ]; then
            download_most=$(size_of "$2") download_left=$fetch_tries download_wait=${FETCH_WAIT:-1}
        fi
        if [ "$download_left" -eq 0 ]; then
            why="$1: $why, $fetch_tries times in a row; is there a network?"
            return 1
        fi
        note "$3: $why ($(size_of "$2") bytes so far); trying again in $download_wait s"
        sleep "$download_wait"
        download_wait=$((download_wait * 2))
    done
}

# get URL FILE SIZE SUM NAME: the file under its name, whole and right.
get() {
    for get_try in 1 2; do
        download "$1" "$2.part" "$5" || return 1
        # An empty file leaves none.
        [ -f "$2.part" ] || : >"$2.part"
        if fits "$2.part" "$3" "$4"; then
            mv -f "$2.part" "$2"
            return
        fi
        rm -f "$2.part"
        # What a former run left may be of another file; what came in one piece is not.
        [ "$get_try$resumed" = 11 ] || break
        note "$5: what was put together is not right; from the start again"
    done
    why="what $1 gives is not right: $why"
    return 1
}
