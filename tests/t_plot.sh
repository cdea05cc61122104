#!/bin/sh
# How plot has its pictures drawn: at once, in any order, told of in theirs; by a gnuplot that is a
# script of this test. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
maker=$(dirname "$seqtopk")/test_summary

"$maker" a.db 1 6 >out 2>err || { cat err; echo "Bail out! no database"; exit 1; }

# a_gnuplot: it is found before the real one, and does what stdin says with $file, its picture's name.
a_gnuplot() {
    mkdir -p bin
    {
        # shellcheck disable=SC2016
        printf '#!/bin/sh\n%s\n' 'file=${2##*file=?} file=${file%?}; echo "$file" >>order'
        cat
    } >bin/gnuplot
    chmod +x bin/gnuplot
}
draws() { # STATUS FOLDER
    PATH=$trash/bin:$PATH gives "$1" "$seqtopk" plot a.db --out "$2" --where "router = 'topk' OR max = k + 2"
}

# The first picture is done only when three others have begun, one of them at another's place.
in_turn() {
    a_gnuplot <<'END'
echo "<svg></svg>" >"$file"
[ "$file" = entropy.svg.tmp ] || exit 0
for _ in $(seq 100); do
    [ "$(wc -l <order)" -lt 4 ] || exit 0
    sleep 0.1
done
echo "line 1: nothing else was begun" >&2
exit 1
END
    draws 0 f1 && [ "$(head -n 4 out | tr '\n' ' ')" = "f1/entropy.tsv f1/entropy.gp f1/entropy_layers-k8.tsv f1/entropy_layers-k8.gp " ] &&
        [ "$(grep -E 'svg$|png$' out | head -n 3 | tr '\n' ' ')" = "f1/entropy.svg f1/entropy.png f1/entropy_layers-k8.svg " ] &&
        [ "$(find f1 -name '*.svg' -o -name '*.png' | wc -l)" -eq 10 ] && [ -z "$(find f1 -name '*.tmp')" ]
}
# The second fails while the first is under way: that one is drawn, and nothing behind them.
before_it() {
    a_gnuplot <<'END'
[ "$file" != entropy.png.tmp ] || { echo "line 7: no such colour" >&2; exit 1; }
[ "$file" != entropy.svg.tmp ] || sleep 0.5
echo "<svg></svg>" >"$file"
END
    draws 1 f2 && grep -q 'f2/entropy.gp: gnuplot failed: line 7: no such colour' err &&
        [ "$(cd f2 && echo *.svg *.png *.tmp)" = "entropy.svg *.png *.tmp" ]
}
# More than a pipe holds, and the complaint at the end of it.
talks() {
    a_gnuplot <<'END'
head -c 300000 /dev/zero | tr '\0' '\n' >&2
echo "line 9: undefined variable" >&2
exit 1
END
    draws 1 f3 && grep -q 'gnuplot failed: line 9: undefined variable' err
}
killed() {
    # shellcheck disable=SC2016
    echo 'kill -9 $$' | a_gnuplot
    draws 1 f4 && grep -q 'f4/entropy.gp: gnuplot failed: it says nothing' err
}

if [ "$(getconf _NPROCESSORS_ONLN)" -gt 1 ]; then
    check "a picture that is done makes room for the next, and they are told of in order" in_turn
    check "the pictures before one that fails are drawn, and none behind it" before_it
else
    skip "a picture that is done makes room for the next, and they are told of in order" "one processor"
    skip "the pictures before one that fails are drawn, and none behind it" "one processor"
fi
check "a gnuplot that says much is heard to its end" talks
check "a gnuplot that was killed is a failure" killed
plan
