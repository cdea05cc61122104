#!/bin/sh
# show, end to end, on a made-up cell: choosing a sample, what is printed of it, colours, the page,
# and texts that would do harm if they were printed as they are. Needs no model. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
maker=$(dirname "$seqtopk")/test_summary
unset NO_COLOR COLORTERM
export TERM=xterm-256color SEQTOPK_EVALS="$trash/evals"

"$maker" a.db 1 3 >out 2>err || { cat err; echo "Bail out! no database"; exit 1; }
sql() { sqlite3 -bail "$1" "$2"; }
first=$(sql a.db "SELECT cell_id FROM v_cells WHERE mode = 'online' AND max = k + 2 AND k = 8")
[ ${#first} -eq 32 ] || { echo "Bail out! no cell"; exit 1; }
short=$(echo "$first" | cut -c 1-10)

# A task of our own, whose measures look for numbers.
mkdir evals
cat >evals/sums.lua <<'EOF2'
return {
  name = "sums", about = "sums", license = "none", source = "here", file = "sums.jsonl",
  forms = { short = {
    version = 1, prompt = "{q}",
    generate = { max_tokens = 20, stop = { "Q:" }, temperature = 0, top_p = 1 },
    measures = {
      { "exact", name = "marked", find = "#### ([0-9.,]+)", take = "first", reference = "{a}" },
      { "exact", name = "dotted", find = "is ([0-9]+).", take = "first", reference = "{a}" },
      { "exact", name = "last", before = { { "([0-9]),([0-9])", "$1$2" } }, find = "[0-9]+",
        take = "last", reference = "{a}" },
    },
  } },
}
EOF2

# token DOC POS HEX EXPERTS: one token of the cell, with its bytes.
token() {
    cat >>load.sql <<EOF2
INSERT INTO token_text SELECT tokenizer, 9000 + $2, iif('$3' <> '', x'$3', NULL) FROM cell WHERE id = '$first';
INSERT INTO token SELECT n, $1, $2, 9000 + $2, 0.5, 0.25 * $2, 4 * $4, '$4,$4,$4,$4' FROM cell WHERE id = '$first';
EOF2
}
hex() { printf '%b' "$1" | od -An -v -tx1 | tr -d ' \n'; }
# sample DB DOC PROMPT_TOKENS OUTPUT EXTRACTED TOKEN...: the output as hexadecimal digits; a token too.
sample() {
    db=$1 doc=$2 given=$3 output=$4 verdicts=$5
    shift 5
    cat >load.sql <<EOF2
BEGIN;
DELETE FROM token WHERE doc = $doc AND cell = (SELECT n FROM cell WHERE id = '$first');
DELETE FROM token_text;
UPDATE cell SET task = 'sums/short' WHERE id = '$first';
UPDATE sample SET prompt_tokens = $given, output_tokens = $#, stop_reason = 'stop', nll = NULL, nll_tokens = 0,
    output = CAST(x'$output' AS TEXT), extracted = '$verdicts', score = 1
    WHERE doc = $doc AND cell = (SELECT n FROM cell WHERE id = '$first');
EOF2
    pos=0
    for t; do
        token "$doc" $pos "$t" $((pos + 1))
        pos=$((pos + 1))
    done
    echo 'COMMIT;' >>load.sql
    sqlite3 -bail "$db" <load.sql
}

# ---- choosing ----

several() {
    fails 1 'has 42 cells, those above; name one' "$seqtopk" show a.db 0 && grep -q "^  $(echo "$first" | cut -c 1-8)  tiny-olmoe, nll:texts.jsonl, K = 8, seqtopk online" err &&
        grep -q 'and 22 more' err && [ "$(grep -c '^  ' err)" -eq 21 ]
}
check "a document of many cells is answered with the list of them" several
check "a condition that fits several is too" fails 1 "fits 14 cells" "$seqtopk" show a.db 0 --where "k = 4"
check "a condition chooses the cell" gives 0 "$seqtopk" show a.db 0 --where "k = 8 AND mode = 'online' AND max = 10"
check "so does the beginning of an id" gives 0 "$seqtopk" show a.db "$short:2"
check "an id that is none is named" fails 1 "no cell's id begins with 'ffffffffff'" "$seqtopk" show a.db ffffffffff:0
check "a condition that fits nothing is named" fails 1 "no cell with k = 99" "$seqtopk" show a.db 0 --where "k = 99"
check "a document that is not there is answered with those there are" \
    fails 1 "has no document 3; it has 3, from 0 to 2" "$seqtopk" show a.db "$short:3"
check "far too large a number likewise" fails 1 "has no document" "$seqtopk" show a.db "$short:99999999999999999999"
check "what is no sample is wrong usage" fails 2 "'abc' is no sample" "$seqtopk" show a.db abc
check "a cell twice is wrong usage" fails 2 "names the cell already" "$seqtopk" show a.db "$short:0" --where "k = 8"
check "two shades are wrong usage" fails 2 "only one of" "$seqtopk" show a.db "$short:0" --experts --entropy
check "a database that is not there is named" fails 1 "no.db: No such file" "$seqtopk" show no.db 0
check "a page that cannot be written is named" fails 1 "nowhere/x.html" "$seqtopk" show a.db "$short:0" --html nowhere/x.html

# ---- a text scored by its loss ----

loss() {
    gives 0 "$seqtopk" show a.db "$short:1" && says "^cell *$first, of the sweep fake" '^router *seqtopk online \[1, 10\], K = 8' \
        '^loss .* nats a token, .* over 59 tokens' '^--- output ---' && ! grep -q "$(printf '\033')" out
}
check "a text without an output shows its loss, and no colours where there is no terminal" loss

# ---- an answer, found and compared ----

wrote='7 and\n#### 1,07\n'
verdicts='{"marked": {"score": 0, "found": "1,07", "compared": "1,07", "with": "107"}, "last": {"score": 1, "found": "107", "compared": "107", "with": "107"}}'
cp a.db g.db
sample g.db 0 3 "$(hex "$wrote")" "$verdicts" "$(hex 'Add 7')" "$(hex ' and')" "$(hex ' 100.')" \
    "$(hex '7 and')" "$(hex '\n####')" "$(hex ' 1')" "$(hex ',0')" "$(hex '7')" "$(hex '\n')" "$(hex 'Q:')" ||
    echo "Bail out! no sample"
answer() {
    gives 0 "$seqtopk" show g.db "$short:0" && says '^task *sums/short, seed 0' '^document *0: a prompt of 3 tokens, 10 written' \
        '^ended *stop: at a stop string' '^score *1$' '^answer *bytes 6 to 15 of the output$' \
        '^--- prompt ---$' '^Add 7 and 100\.$' '^--- output ---$' '^#### 1,07$' 'cut off' '^Q:$' \
        '^marked: 0$' '^last: 1$' '^  found *1,07$' '^  compared *107$' '^  reference *107$'
}
check "prompt, output, where the answer was found and what it was compared with" answer
colours() {
    gives 0 "$seqtopk" show g.db "$short:0" --color || return 1
    e=$(printf '\033')
    # Ten tokens of 1 to 10 experts: the first is palest, the last darkest; the answer is underlined.
    says "^shade .*$e\[38;5;16;48;5;230m 1\.00 .* 10\.00  experts" "$e\[38;5;16;48;5;230mAdd 7$e\[0m" \
        "$e\[38;5;231;48;5;89m$e\[9mQ:$e\[0m" "$e\[1;4m 1$e\[0m" "$e\[1;4m,0$e\[0m" "$e\[1;4m7$e\[0m" &&
        ! grep -q "$e\[1;4m7 and" out
}
check "--color shades tokens by experts and underlines the answer alone" colours
entropy() {
    gives 0 "$seqtopk" show g.db "$short:0" --color --entropy && says '^shade .* 2\.25  entropy in nats'
}
check "--entropy shades by entropy" entropy
alike() {
    gives 0 "$seqtopk" show a.db 0 --where "router = 'topk' AND k = 8" --color && says 'shade .* 8 .*experts.*: every token has the same' &&
        [ "$(grep -c '48;5;230m' out)" -eq 0 ] && grep -q '48;5;209m' out
}
check "where every token has the same number there is one shade, and no scale" alike
rgb() {
    COLORTERM=truecolor gives 0 "$seqtopk" show g.db "$short:0" --color && says '48;2;255;248;215m'
}
check "a terminal of all colours gets them" rgb
terminal() { # SAY: 1 where colours must come
    script -qec "$seqtopk show g.db $short:0" /dev/null >out 2>err || return 1
    [ "$(grep -c '48;5;230m' out)" -ge "$1" ] && { [ "$1" -gt 0 ] || ! grep -q '48;5;' out; }
}
no_color() { NO_COLOR=1 terminal 0; }
if command -v script >/dev/null; then
    check "a terminal gets colours" terminal 1
    check "but not where NO_COLOR is set" no_color
else
    skip "a terminal gets colours" "no script to make one"
fi
# places OUTPUT EXTRACTED: the line about the answer, of an output without tokens.
places() {
    cp a.db q.db && sample q.db 0 1 "$(hex "$1")" "$2" && sql q.db "DELETE FROM token" &&
        gives 0 "$seqtopk" show q.db "$short:0" && sed -n 's/^answer *//p' out
}
first_and_last() {
    [ "$(places 'a #### 5 #### 5' '{"last": {"found": "5"}, "marked": {"found": "5"}}')" = 'bytes 2 to 8, 14 to 15 of the output' ]
}
check "of equal answers the one that counted is shown, the first or the last" first_and_last
whole_characters() {
    [ "$(places 'is 5\0343\0200\0202' '{"dotted": {"found": "5"}}')" = 'bytes 0 to 7 of the output' ]
}
check "what is shown does not end inside of a character" whole_characters
# Decoding that a recipe changed stands behind the task's name.
other_decoding() {
    cp g.db d.db && sql d.db "UPDATE cell SET task = 'sums/short(temperature=0.7)' WHERE id = '$first'" &&
        gives 0 "$seqtopk" show d.db "$short:0" && says '^answer *bytes 6 to 15 of the output$'
}
check "another decoding of the task has the same measures" other_decoding
stands_in() {
    [ -z "$(places 'so 7 and 8, none' '{"last": {"found": "7 and 8", "none": true}}')" ] && grep -q '^  no answer *yes$' out
}
check "what stands in for an answer is shown, and marked nowhere" stands_in
all_of_it() {
    [ -z "$(places ' text\n' '{"x": {"found": "text"}}')" ] && grep -q '^  found *text$' out
}
check "where all of the output is the answer nothing is marked" all_of_it
unknown_task() {
    cp g.db u.db && sql u.db "UPDATE cell SET task = 'other/task' WHERE id = '$first'" &&
        gives 0 "$seqtopk" show u.db "$short:0" && says '^answer *bytes 11 to 15 of the output$'
}
check "without the task's file what was found is looked for as it stands" unknown_task
unsure() {
    cp u.db v.db && sql v.db "UPDATE sample SET extracted = '{\"x\": {\"score\": 1, \"found\": \"7\"}}' WHERE doc = 0" &&
        gives 0 "$seqtopk" show v.db "$short:0" && says '^answer *bytes 0 to 1, 14 to 15 of the output; which'
}
check "where that is not the only place it says so" unsure
other_output() {
    cp g.db o.db && sql o.db "UPDATE sample SET output = 'another 107 text', extracted = '{\"x\": {\"found\": \"107\"}}' WHERE doc = 0" &&
        gives 0 "$seqtopk" show o.db "$short:0" && says '^--- output, token by token ---' '^--- output, as it was scored ---' \
        '^another 107 text$' '^answer *bytes 8 to 11 ' '^x: not scored'
}
check "an output that its tokens do not spell is shown by itself" other_output
without_tokens() {
    cp g.db n.db && sql n.db 'DELETE FROM token' && gives 0 "$seqtopk" show n.db "$short:0" --color &&
        says '^tokens *not logged' '#### ' && ! grep -q '48;5;' out && gives 0 "$seqtopk" show n.db "$short:0" --html n.html &&
        ! grep -q '<input' n.html && grep -q '<mark>#### 1,07</mark>' n.html
}
check "without logged tokens it says so, and shows the output plain" without_tokens
no_json() {
    cp g.db j.db && sql j.db "UPDATE sample SET extracted = 'no <json>' WHERE doc = 0" &&
        gives 0 "$seqtopk" show j.db "$short:0" && says '^no <json>$' &&
        gives 0 "$seqtopk" show j.db "$short:0" --html j.html && grep -q 'no &lt;json&gt;' j.html &&
        sql j.db "UPDATE sample SET extracted = '[1]' WHERE doc = 0" && gives 0 "$seqtopk" show j.db "$short:0" && says '^\[1\]$'
}
check "verdicts that are no JSON are shown as they are" no_json
failed() {
    cp g.db f.db && sql f.db "UPDATE sample SET error = 'too long' || char(27), output = NULL, extracted = NULL WHERE doc = 0;
        UPDATE cell SET status = 'unfinished'" &&
        gives 0 "$seqtopk" show f.db "$short:0" && says '^error *too long\\x1b$' '^cell .*; unfinished$'
}
check "a sample that failed says why, an unfinished cell that it is" failed

# ---- bytes ----

# An escape, a zero, a character over three tokens, half a character, one that turns the line round,
# marks of HTML, an empty token, one whose text is not known.
cp a.db b.db
sample b.db 1 1 "$(hex 'x')" '{}' "$(hex 'P\033[31m')" "$(hex 'a\0000b')" "$(hex 'q\0346')" "$(hex '\0226')" "$(hex '\0207!')" \
    "$(hex '\0303')" "$(hex '\0342\0200\0256')" "$(hex '<i>&amp;"')" "" "$(hex '\t.')" || echo "Bail out! no sample"
bytes() {
    gives 0 "$seqtopk" show b.db "$short:1" && says "^P\\\\x1b\[31m$" "^a\\\\x00bq文!\\\\xc3\\\\u202e<i>&amp;\"\[9008\]	\.$"
}
check "bytes that are no text are shown, characters over several tokens joined" bytes
joined() {
    e=$(printf '\033')
    # Tokens 2, 3 and 4 share a character, so they have one shade: that of 4 experts.
    gives 0 "$seqtopk" show b.db "$short:1" --color && says "48;5;215mq文!$e\[0m" && [ "$(grep -c "$e\[31m" out)" -eq 0 ]
}
check "and have one shade" joined
half() {
    cp a.db c.db && sample c.db 2 1 "$(hex 'q\0346\0226\0207!z')" '{"x": {"score": 1, "found": "!"}}' "$(hex 'P')" \
        "$(hex 'q\0346')" "$(hex '\0226')" "$(hex '\0207!')" "$(hex 'z')" && gives 0 "$seqtopk" show c.db "$short:2" --html c.html &&
        grep -q '>q文<mark>!</mark></span>' c.html && [ "$(grep -c 'class="t' c.html)" -ge 3 ] && [ "$(grep -o 'class="t' c.html | wc -l)" -eq 3 ]
}
check "an answer that begins inside of what they share splits nothing" half

# ---- the page ----

cat >page.py <<'EOF2'
import sys
from html.parser import HTMLParser
class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.titles, self.text, self.bad = [], [], "", []
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("script", "link", "img", "iframe"): self.bad.append(tag)
        if any(k.startswith("on") or k in ("src", "href") for k in attrs): self.bad.append(attrs)
        if tag not in ("meta", "input", "col", "html", "dt"): self.open.append(tag)
        if "title" in attrs: self.titles.append(attrs["title"])
    def handle_endtag(self, tag):
        if tag == "html" or tag == "dt": return
        assert self.open and self.open.pop() == tag, (tag, self.getpos())
    def handle_data(self, data): self.text += data
p = Page()
source = open(sys.argv[1], encoding="utf-8").read()
p.feed(source)
assert not p.open and not p.bad, (p.open, p.bad)
assert "http" not in source and "url(" not in source
assert source.count("type=radio") == 3 and "<!doctype html>" in source
titles = "\n".join(p.titles)
for word in sys.argv[2:]:
    assert word in p.text or word in titles, word
EOF2
page() {
    gives 0 "$seqtopk" show g.db "$short:0" --html g.html && grep -qx g.html out && [ "$(wc -l <out)" -eq 1 ] &&
        grep -q '<span class="t a0 b0" title="&quot;Add 7&quot; (token 9000) at position 0$' g.html &&
        grep -q '^experts 10, by layer \[10,10,10,10\]$' g.html && grep -q '^entropy 2.250$' g.html && grep -q '^loss 0.500">' g.html &&
        grep -q 'class="t a6 b6 x"' g.html && grep -q '<mark> 1</mark></span>' g.html &&
        { ! command -v python3 >/dev/null || python3 page.py g.html 'sums/short' 'Add 7 and' 'reference' >out 2>err; }
}
check "the page has every token with what is known of it, both shades, and the answer marked" page
hostile() {
    cp b.db h.db && sql h.db "UPDATE cell SET model = '</title><script>alert(1)</script>', sweep = '\"><b onclick=x>' WHERE id = '$first';
        UPDATE sample SET extracted = '{\"<script>\": {\"score\": 0, \"found\": \"</td><script>\", \"reply\": null}}', error = '<img src=x>' WHERE doc = 1" &&
        gives 0 "$seqtopk" show h.db "$short:1" --html h.html && ! grep -q -e '<script' -e '<img' -e '<b onclick' -e '<i>&amp;amp' h.html &&
        grep -q 'title="&quot;&lt;i&gt;&amp;amp;&quot;&quot; (token 9007) at position 7$' h.html && grep -q '<span class=e>.x1b</span>' h.html &&
        ! LC_ALL=C grep -q "$(printf '[\001-\010\013-\037]')" h.html &&
        { ! command -v python3 >/dev/null || python3 page.py h.html '\x1b' '文' '<i>&amp;"' '\u202e' '\x00' >out 2>err; }
}
check "nothing of the database gets out of its place on the page" hostile
plan
