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
        [ "$(find f1 -name '*.svg' -o -name "*.png" | wc -l)" -eq 22 ] && [ -z "$(find f1 -name '*.tmp')" ]
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

# A metric along a field, by the real gnuplot: its files, and a difference with the line of 0.
along() {
    gives 0 "$seqtopk" plot a.db --out f5 --x k --where "router = 'topk' OR max = k + 2" &&
        [ "$(tr '\n' ' ' <out)" = "f5/nll_by_k.tsv f5/nll_by_k.gp f5/nll_by_k.svg f5/nll_by_k.png " ] && [ ! -s err ] &&
        [ "$(wc -l <f5/nll_by_k.tsv)" -eq 16 ] && grep -q '</svg>' f5/nll_by_k.svg &&
        grep -q 'seqtopk online \[1, K+2\]' f5/nll_by_k.tsv && grep -qx 'set xtics (2, 4, 8)' f5/nll_by_k.gp &&
        gives 0 "$seqtopk" plot a.db --out f5 --name d --x k --y experts --against topk --where "router = 'topk' OR max = k + 2" &&
        [ "$(wc -l <f5/d-experts_by_k.tsv)" -eq 13 ] && grep -q 'graph 0, first 0 to graph 1, first 0' f5/d-experts_by_k.gp
}
# Where there are too many tokens to read them again, intervals are of each router alone and wider.
unpaired() {
    cp a.db many.db && sqlite3 many.db "UPDATE cell SET tokens = 9000000" &&
        gives 0 "$seqtopk" plot a.db --out f6 --where "k = 8 AND (router = 'topk' OR max = 10)" && grep -q 'of the paired difference' f6/positions.gp &&
        gives 0 "$seqtopk" plot many.db --out f7 --where "k = 8 AND (router = 'topk' OR max = 10)" && grep -q 'not paired' f7/positions.gp &&
        [ "$(cut -f 1-12 f6/positions.tsv | cksum)" = "$(cut -f 1-12 f7/positions.tsv | cksum)" ] && ! cmp -s f6/positions.tsv f7/positions.tsv
}
# Panels by the numbers in their tasks' names, of which they say only what differs.
panels() {
    cp a.db tasks.db && sqlite3 tasks.db "UPDATE cell SET task = 'nll:t(length=' || (2048 / k) || ',x=1)'" &&
        sqlite3 tasks.db "UPDATE cell SET k = 4" &&
        gives 0 "$seqtopk" plot tasks.db --out f8 --x max --where "mode = 'online' AND min = 1" &&
        [ "$(cut -f 2 f8/nll_by_max.tsv | uniq | tr '\n' ' ')" = "panel length=256 length=512 length=1024 " ] &&
        grep -q "^set label 'tiny-olmoe, nll:t(x=1), K = 4' at" f8/nll_by_max.gp
}
refused() {
    fails 1 'plot: --x nothing: no finished cell has it; there are batch, k, max, min, seed$' "$seqtopk" plot a.db --x nothing &&
        fails 1 'plot: --y nothing: no finished cell has it; there are .*nll, ppl' "$seqtopk" plot a.db --x k --y nothing &&
        fails 1 'plot: --x seed: it is 0 in all cells' "$seqtopk" plot a.db --x seed &&
        fails 1 'plot: --y ppl cannot stand with --against' "$seqtopk" plot a.db --x k --y ppl --against topk &&
        fails 1 'plot: --against topq: no finished cell has such a router; there are batchtopk' "$seqtopk" plot a.db --x k --against topq &&
        fails 1 'has no cell for which the condition holds' "$seqtopk" plot a.db --x k --where 'k = 99' &&
        fails 2 'plot: --y says what to draw along a field' "$seqtopk" plot a.db --y nll &&
        fails 2 'plot: --against says' "$seqtopk" plot a.db --against topk
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
if command -v gnuplot >/dev/null; then
    check "a metric is drawn along a field, and less a reference" along
else
    skip "a metric is drawn along a field, and less a reference" "no gnuplot"
fi
if command -v gnuplot >/dev/null && command -v sqlite3 >/dev/null; then
    check "intervals by position are paired where the tokens are few, and say so where not" unpaired
    check "panels stand by the numbers in their names, and share a head" panels
else
    skip "intervals by position are paired where the tokens are few, and say so where not" "no gnuplot or sqlite3"
    skip "panels stand by the numbers in their names, and share a head" "no gnuplot or sqlite3"
fi
check "what is not there is refused with what is" refused
plan
