#!/bin/sh
# report, end to end, on a made-up sweep: the page's form, its numbers, what it warns of, what it leaves
# out, texts that would do harm, and how it looks in Chromium. Needs no model. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
maker=$(dirname "$seqtopk")/test_summary
unset SEQTOPK_EVALS

"$maker" a.db 1 6 >out 2>err || { cat err; echo "Bail out! no database"; exit 1; }
sql() { sqlite3 -bail "$1" "$2"; }
# Losses that differ between routers: the made-up ones are all alike.
command -v sqlite3 >/dev/null && sql a.db "UPDATE sample SET nll = nll * (1 + 0.002 * ((cell * 7 + doc * 13) % 11 - 5 + cell % 3 * doc))"

# page.py FILE [CHECK...]: reads the page as a browser would, and fails where it is not well formed.
cat >page.py <<'EOF2'
import json, subprocess, sys
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "col", "img"}
DRAWN = {"path", "circle", "rect", "use", "line", "polygon", "polyline", "stop"}

class Page(HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.labels, self.tags = [], [], [], [], []
        self.headings, self.tables, self.words, self.style, self.dt = [], [], [], "", 0
        self.table = self.row = self.cell = None
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs, closed=False):
        a = dict(attrs)
        assert len(a) == len(attrs), (tag, attrs)
        self.tags.append((tag, a))
        for k, v in attrs:
            assert not k.startswith("on"), (tag, k)
            if k == "id": self.ids.append(v)
            if k in ("href", "xlink:href"): self.links.append(v)
            if k in ("aria-labelledby", "aria-describedby"): self.labels += v.split()
        if tag in ("h1", "h2", "h3", "h4"): self.headings.append(int(tag[1]))
        if tag == "table": self.table = {"caption": "", "head": [], "rows": [], "id": None}; self.tables.append(self.table)
        if tag == "tr" and self.table is not None: self.row = []
        if tag in ("td", "th") and self.row is not None:
            assert tag == "td" or a.get("scope") in ("row", "col"), self.getpos()
            self.cell = {"tag": tag, "text": "", "value": None}
        if tag == "data" and self.cell is not None and self.cell["value"] is None: self.cell["value"] = float(a["value"])
        if tag not in VOID and not closed and not (tag in DRAWN and closed): self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs, closed=True)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:], self.getpos())
        self.open.pop()
        if tag in ("td", "th") and self.cell is not None:
            self.row.append(self.cell); self.cell = None
        if tag == "tr" and self.row is not None:
            (self.table["rows"] if any(c["tag"] == "td" for c in self.row) else self.table["head"]).append(self.row)
            self.row = None
        if tag == "table": self.table = None

    def handle_data(self, text):
        if self.open and self.open[-1] == "style": self.style += text; return
        self.words.append(text)
        if self.cell is not None: self.cell["text"] += text
        elif self.table is not None and "caption" in self.open: self.table["caption"] += text

source = open(sys.argv[1], encoding="utf-8", errors="strict").read()
page = Page(source)
words = "".join(page.words)
plain = {c for c in words if ord(c) < 32 and c not in "\n\t"}
assert not plain, plain
assert not {c for c in words if 0x7f <= ord(c) < 0xa0 or 0x202a <= ord(c) <= 0x202e or 0x2066 <= ord(c) <= 0x2069}
assert len(page.ids) == len(set(page.ids)), [i for i in page.ids if page.ids.count(i) > 1][:5]
for l in page.links: assert l == "data:," or (l[0] == "#" and l[1:] in page.ids), l
for l in page.labels: assert l in page.ids, l
assert "http" not in source.replace("http-equiv", ""), source[source.replace("http-equiv", "          ").index("http") - 60:][:120]
assert "url(" not in page.style and "@import" not in page.style
tags = [t for t, _ in page.tags]
assert not {"script", "iframe", "object", "img", "form", "base", "foreignobject"} & set(tags)
assert all(tags.count(t) == 1 for t in ("html", "title", "main", "h1", "nav", "header", "footer"))
assert dict(page.tags)["html"]["lang"] == "en"
for a, b in zip(page.headings, page.headings[1:]): assert b <= a + 1, (a, b)
assert page.headings[0] == 1
for t in page.tables: assert t["caption"].strip(), t
for t, a in page.tags:
    if t == "svg": assert a.get("aria-hidden") == "true" or (a["role"] == "img" and a["aria-label"]), a
for w in sys.argv[3:]: assert w in words, w

def ask(*args):
    return json.loads(subprocess.run([sys.argv[2], *args], check=True, capture_output=True).stdout)

def results():
    return [(t, r) for t in page.tables for r in t["rows"] if t["head"] and t["head"][0][-1]["text"] == "cell" and t["head"][0][1]["text"] == "K"]
EOF2

cat >numbers.py <<'EOF2'
exec(open("page.py").read())
# Each number of the table is that of `table --json`, and its interval is 1.96 standard errors.
rows = {r["cell_id"][:8]: r for r in ask("table", db, "--json")} if (db := "a.db") else None
seen = 0
for t, r in results():
    names = [c["text"] for c in t["head"][0]]
    want = rows[r[-1]["text"]]
    for name, cell in zip(names, r):
        key = {"ppl": "ppl", "experts a token": "experts", "load entropy": "load_entropy", "no answer": "no_answer",
               "truncated": "truncated", "nll [95 %], nats a token": "nll", "score [95 %]": "score"}.get(name)
        if name.startswith("Spearman"): key = "spearman"
        if not key: continue
        assert cell["value"] == want[key], (name, cell, want[key])
        if cell["value"] is None: continue
        text = cell["text"].replace("\u2212", "-")
        shown = float(text.split(" ")[0])
        assert abs(shown - want[key]) <= 0.00051, text
        seen += 1
        if "[95" in name:
            lo, hi = map(float, text.split("[")[1].rstrip("]").split(", "))
            e = want.get(key + "_stderr")
            wl, wh = (want[key] - 1.959964 * e, want[key] + 1.959964 * e) if e is not None else (want["spearman_low"], want["spearman_high"])
            assert abs(lo - wl) < 0.00052 and abs(hi - wh) < 0.00052, (text, wl, wh)
assert seen > 42 * 4, seen
# Each paired test is that of `compare --json`; Holm's correction is over all of them.
ids = {(r["k"], r["router"]): r["cell_id"] for r in rows.values()}
p, holm = [], []
for t in page.tables:
    if "router minus topk" not in t["caption"]: continue
    for r in t["rows"]:
        k, label = int(r[1]["text"]), r[0]["text"]
        d = ask("compare", db, ids[k, label], ids[k, "topk"], "--json")
        for cell, want in ((r[2], d["a"]["value"]), (r[3], d["b"]["value"]), (r[4], d["difference"]["value"])):
            assert abs(cell["value"] - want) <= 1e-8 * max(1, abs(want)), (cell, want)
        lo, hi = map(float, r[4]["text"].replace("\u2212", "-").split("[")[1].rstrip("]").split(", "))
        assert abs(lo - d["difference"]["low"]) < 6e-5 and abs(hi - d["difference"]["high"]) < 6e-5
        assert int(r[6]["text"]) == d["documents"]
        p.append(r[7]["value"]); holm.append(r[8]["value"])
        said = r[10]["text"]
        if d["difference"]["value"] == 0:
            assert said == "\u2013" and p[-1] == 1
            continue
        needed = d["documents"] * (1.959964 * d["difference"]["stderr"] / d["difference"]["value"]) ** 2
        assert said.startswith("> 1,000,000") if needed > 1e6 else abs(int(said.split()[0]) - needed) <= 1 + 1e-6 * needed, (said, needed)
        assert ("*" in said) == (needed > d["documents"]) or needed > 1e6
        assert ("better" in r[9]["text"] or "worse" in r[9]["text"]) == (holm[-1] < 0.05)
        if "better" in r[9]["text"]: assert r[4]["value"] < 0
assert len(p) == 39 and len(set(p)) > 5, p
least = 0
for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
    least = max(least, min(1, p[i] * (len(p) - rank)))
    assert abs(holm[i] - least) <= 2e-3 * least + 1e-12, (p[i], holm[i], least)
EOF2
if command -v python3 >/dev/null; then python=yes; else python=no; fi
# sound FILE WORD...: the page is well formed and says the words.
sound() {
    [ -s "$1" ] && { [ $python = no ] || { sound_page=$1 && shift && python3 page.py "$sound_page" "$seqtopk" "$@" 2>err; }; }
}

# ---- the file ----

beside() { gives 0 "$seqtopk" report a.db && grep -qx a.html out && [ ! -s err ] && [ -s a.html ]; }
check "the page stands beside its database" beside
check "it is well formed, and whole by itself" sound a.html "What to mind" "Paired tests" "tiny-olmoe, nll:texts.jsonl"
again() {
    cp a.html was.html && gives 0 "$seqtopk" report a.db -o b.html && cmp -s b.html was.html &&
        gives 0 "$seqtopk" report a.db && cmp -s a.html was.html
}
check "the same database gives the same page, and a page of ours is written over" again
foreign() {
    echo "my notes" >notes.html && fails 1 "notes.html is there, and is no report" "$seqtopk" report a.db -o notes.html &&
        [ "$(cat notes.html)" = "my notes" ]
}
check "a file that is no report is left alone" foreign
itself() { before=$(cksum <a.db) && fails 1 "a.db is there, and is no report" "$seqtopk" report a.db -o a.db && [ "$before" = "$(cksum <a.db)" ]; }
check "so is the database" itself
check "a folder is named" fails 1 "is a folder" "$seqtopk" report a.db -o .
check "a place where nothing can be written is named" fails 1 "nowhere/x.html" "$seqtopk" report a.db -o nowhere/x.html
if [ -w /dev/full ]; then
    check "a full disk is named" fails 1 "/dev/full: No space left" "$seqtopk" report a.db -o /dev/full
else
    skip "a full disk is named" "no /dev/full"
fi
stdout() { "$seqtopk" report a.db -o /dev/stdout 2>err | head -n -1 | cmp -s - a.html; }
check "a pipe is written to" stdout
check "a database that is not there is named" fails 1 "no.db: No such file" "$seqtopk" report no.db
check "a condition that fits nothing is named" fails 1 "has no cell for which the condition holds" "$seqtopk" report a.db --where "k = 99"
check "a condition that is no SQL is named" fails 1 "the condition on cells: near" "$seqtopk" report a.db --where "k k k"
check "no samples is wrong usage" fails 2 "at least\|from 1 to 100" "$seqtopk" report a.db --samples 0
check "too many samples likewise" fails 2 "at most 100 are allowed" "$seqtopk" report a.db --samples 101
check "a name for the page is needed" fails 2 "a file's name is needed" "$seqtopk" report a.db -o ''
condition() {
    gives 0 "$seqtopk" report a.db -o k.html --where "k = 4" && sound k.html "only cells with k = 4" "14 cells in 1 table" &&
        ! grep -q 'K = 8' k.html
}
check "a condition chooses the cells" condition
samples() {
    gives 0 "$seqtopk" report a.db -o s1.html --samples 1 && [ "$(grep -c '<h4>Document' s1.html)" -eq 1 ] &&
        [ "$(grep -c '<h4>Document' a.html)" -eq 3 ] && gives 0 "$seqtopk" report a.db -o s6.html --samples 6 &&
        [ "$(grep -c '<h4>Document' s6.html)" -eq 6 ] && sound s6.html
}
check "--samples says how many documents are shown" samples

# ---- the numbers ----

if [ $python = yes ]; then
    check "its numbers are those of table and compare, corrected together" gives 0 python3 numbers.py a.html "$seqtopk"
else
    skip "its numbers are those of table and compare, corrected together" "no python3"
fi
drawn() { grep -q 'role=img' a.html && grep -q "id='f1-gpDot'" a.html && grep -q "href='#f1-" a.html && ! grep -q "id='gp" a.html; }
if command -v gnuplot >/dev/null; then
    check "each figure has marks of its own" drawn
else
    skip "each figure has marks of its own" "no gnuplot"
fi
without_gnuplot() {
    mkdir -p bin && PATH=$trash/bin gives 0 "$seqtopk" report a.db -o n.html && grep -q 'gnuplot is not installed' err && sound n.html "There are no drawings, only their tables: gnuplot is not installed" "The figure as a table"
}
check "without gnuplot there are tables in the place of figures, and it says so" without_gnuplot
no_folder() { TMPDIR=$trash/nowhere gives 0 "$seqtopk" report a.db -o n.html && grep -q nowhere err && sound n.html "There are no drawings"; }
check "so it is where no folder can be made to draw in" no_folder
cleaned() { mkdir tmp && TMPDIR=$trash/tmp gives 0 "$seqtopk" report a.db -o n.html && [ -z "$(ls tmp)" ]; }
check "nothing is left of the drawing" cleaned

# ---- what to mind ----

if ! command -v sqlite3 >/dev/null; then
    skip "what the page warns of" "no sqlite3 to make it up with"
    plan
    exit
fi
nothing() { cp a.db e.db && sql e.db "PRAGMA foreign_keys = ON; DELETE FROM cell" && fails 1 "e.db: has no cell" "$seqtopk" report e.db; }
check "a database without a cell is named" nothing
cp a.db w.db
sql w.db "UPDATE cell SET status = 'failed', error = 'router <b>broke</b>' WHERE n = 3;
    UPDATE cell SET status = 'unfinished' WHERE n = 5;
    UPDATE cell SET note = 'the memory had room for 2 texts at a time, not for 8' WHERE n IN (6, 7);
    UPDATE cell SET device = 'cuda' WHERE n = 8;
    UPDATE sample SET error = 'no reply' WHERE cell = 9 AND doc = 1;
    INSERT INTO metric VALUES (10, 'truncated', 0.25, 0.1, 6), (10, 'no_answer', 0.5, 0.1, 6), (10, 'cut', 2, NULL, 6);
    INSERT INTO recipe VALUES (1, 'abcd1234', 'recipes/made-up.lua', '-- <script>alert(1)</script>');
    INSERT INTO run (n, id, recipe, sweep, command, version, revision, libtorch, blas, device, driver, host, shard, started)
        VALUES (1, 'r1', 1, 'fake', 'seqtopk run x', '0.1', 'aaa', '2.1', 'MKL', 'CPU', '', 'here', '1 of 2', 1700000000),
               (2, 'r2', 1, 'fake', 'seqtopk run x', '0.1', 'bbb', '2.1', 'MKL', 'CPU', '', 'there', '2 of 2', 1700000001);
    INSERT INTO cell_run SELECT n, 1 + n % 2, 6 FROM cell;
    INSERT INTO source VALUES (1, 'data', 'texts.jsonl', 'hash1'), (2, 'data', 'texts.jsonl', 'hash2');
    INSERT INTO cell_source SELECT n, 1 + (n = 11) FROM cell;
    INSERT INTO plan SELECT sweep, id, 1, model, 'x', k, train, task, 6, 100 FROM cell WHERE n <> 12;
    INSERT INTO plan SELECT sweep, 'new', 1, model, 'x', k, train, task, 6, 100 FROM cell WHERE n = 12" || echo "Bail out! no rows"
warned() {
    gives 0 "$seqtopk" report w.db && sound w.html "1 of 42 cells failed" "router <b>broke</b>" "1 of 42 cells are not finished" \
        "the memory had room for 2 texts at a time" "different devices" "1 sample could not be" "texts ended at the limit of tokens; at most 25.0 %" \
        "no answer was found in some texts" "at most 50.0 %" "cut to fit" "batchtopk (3 cells): what a token gets hangs on the other sequences" \
        "seqtopk global (" "2 different versions of the program" "read 2 different data by the name of texts.jsonl" \
        "1 of the 42 cells that the recipe plans have not begun" "1 cell is asked for by no recipe any more" "Of 2 runs no end was seen" \
        "fewer than 20 documents" "Too few documents: in" "recipes/made-up.lua" "<script>alert(1)</script>" "2023-11-14T22:13:20Z" "there, shard 2 of 2"
}
check "it warns of all that may mislead, and says what was run" warned
calm() {
    gives 0 "$seqtopk" report w.db -o c.html --where "n IS NULL OR router = 'topk'" || gives 0 "$seqtopk" report w.db -o c.html --where "router = 'topk'"
    sound c.html "There is nothing to test" && ! grep -q 'asked for by no recipe' c.html && ! grep -q 'batch-' c.html
}
check "a condition leaves out what is said of other cells" calm
seeds() {
    cp a.db d.db && sql d.db "UPDATE cell SET seed = 7 WHERE n = 3" && gives 0 "$seqtopk" report d.db && sound d.html "not compared: the two have different seeds" "1 of 39 routers could not be compared"
}
check "sides with other seeds are not compared" seeds
version_1() {
    sqlite3 v1.db <"$root/tests/data/store-v1.sql" >/dev/null && before=$(cksum <v1.db) && gives 0 "$seqtopk" report v1.db &&
        sound v1.html "does not say which program, libraries and machine" "has no counts by token" && [ "$before" = "$(cksum <v1.db)" ]
}
check "a database of the first version is reported as it is, with what it lacks" version_1
trainings() {
    cp e.db t.db && sql t.db "INSERT INTO training VALUES (1, 't1', 'tuned', 'toy', 'sft, topk', '{}', 0);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
        INSERT INTO training_step SELECT 1, i, 64 * i, 1 + 2.0 / i, 0.001, 1, NULL, NULL, 2, 0.1 FROM n" &&
        gives 0 "$seqtopk" report t.db && sound t.html "Losses of trainings" "Trainings"
}
check "trainings without a cell have a page too" trainings

# ---- texts that would do harm ----

cp w.db h.db
bad='</script><script>alert(1)</script></pre></style><img src=x onerror=alert(1)>"'"''"' onmouseover=x <!-- ]]>'
raw="CAST(x'1b5b324aff8041e280aee280a8c285c3' AS TEXT)"
sql h.db "UPDATE cell SET model = '$bad' || $raw, task = '$bad', note = '$bad', error = $raw, sweep = '$bad' || $raw;
    UPDATE cell SET params = '{\"min\": 1, \"max\": \"$(echo "$bad" | sed 's/"/\\"/g')\"}' WHERE n = 4;
    UPDATE sample SET output = '$bad' || $raw, extracted = '{\"a</td><b>\": {\"score\": 1, \"found\": \"</td><script>\"}}', stop_reason = '$bad', error = NULL, score = doc;
    UPDATE token_text SET text = CASE id % 3 WHEN 0 THEN '$bad' WHEN 1 THEN x'ff1be2' ELSE $raw END;
    UPDATE recipe SET path = '$bad', text = '$bad' || $raw;
    UPDATE source SET name = '$bad' || n, hash = '$bad';
    UPDATE run SET command = '$bad' || $raw, host = '$bad', device = $raw, shard = '$bad';
    UPDATE plan SET model = '$bad'" || echo "Bail out! no hostile rows"
hostile() { gives 0 "$seqtopk" report h.db && sound h.html '</script><script>alert(1)</script>' '\x1b' '\u202e' && grep -q '&lt;/script&gt;' h.html; }
check "no text of the database breaks out of its place" hostile
control() { ! LC_ALL=C grep -q "$(printf '[\001-\010\013-\037]')" h.html && ! grep -qi -e '<script' -e '<img' h.html; }
check "nor does a control character or a tag get through" control
long() {
    cp a.db l.db && sql l.db "UPDATE sample SET output = replace(hex(zeroblob(100000)), '00', 'word ') WHERE cell < 20" &&
        gives 0 "$seqtopk" report l.db && sound l.html "bytes; " && [ "$(wc -c <l.html)" -lt 5000000 ]
}
check "long outputs are cut, and it says so" long
large() {
    "$maker" big.db 2 6 >out 2>err || return 1
    copies='BEGIN;'
    for t in 1 2 3 4 5; do
        copies="$copies INSERT INTO cell SELECT n + 1000 * $t, 'c$t' || id, sweep, model, router, mode, k, min, max, params, train,
            'task $t', seed, device, dtype, layers, experts, tokenizer, status, error, started, seconds, samples, tokens, note FROM cell WHERE n < 1000;"
        for table in metric sample token expert_load entropy_bin histogram token_experts; do
            columns=$(sql big.db "SELECT group_concat(name, ', ') FROM pragma_table_info('$table') WHERE name <> 'cell'")
            copies="$copies INSERT INTO $table (cell, $columns) SELECT cell + 1000 * $t, $columns FROM $table WHERE cell < 1000;"
        done
    done
    sql big.db "$copies COMMIT" && gives 0 "$seqtopk" report big.db && sound big.html "504 cells in 12 tables" "Left out:" &&
        [ "$(wc -c <big.html)" -lt 5000000 ]
}
check "a sweep of 504 cells has a page of less than 5 MB, which says what was left out" large

# ---- in a browser ----

if [ $python = yes ]; then
    for page in a h; do
        "$seqtopk" report $page.db -o $page-4.html --where "k = 4 AND max > 5" --samples 1 >out 2>err
        timeout 200 python3 "$root/tests/chromium.py" "$page-4.html" >looked 2>err
        looked=$?
        if [ $looked -eq 77 ]; then
            skip "$page.html in Chromium" "no Chromium that starts"
            continue
        fi
        while read -r line; do
            case $line in
            ok*) check "$page.html: ${line#ok }" true ;;
            *)
                echo "$line" >out
                check "$page.html: ${line#not ok }" false
                ;;
            esac
        done <looked
        check "$page.html: all was looked at" [ $looked -eq 0 ]
    done
else
    skip "in Chromium" "no python3"
fi
plan
