"""A tokenizer of the SentencePiece kind, slow and plain: what make-fixtures.py writes down where
`tokenizers` is missing, until its `check` has compared the two. Reads what metaspace.h names, and
no more; every step is done as the library does it, on whole strings, with nothing remembered.

Needs nothing but Python.
"""
import collections
import random
import re

SPACE = "\u2581"
ODD = [
    "", " ", "  ", "a", " a", "a ", "  a  ", "Hello, world!", "the time of the day",
    "  two  spaces   three ", "tabs\tand\nnewlines\r\nand\n\n\nmore\n", "\n", "\t", "\u0000",
    "a\u0000b\u0000\u0000 c", "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u4e2d\u6587\u4e2d\u6587",
    "caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m",
    "emoji \U0001f600\U0001f468\u200d\U0001f469 \U0001f600", "\U0001f600", " \U0001f600 ", "\u2581",
    "a\u2581b \u2581 c", "\u2581a", "<0x41>", "a<0x0A>b <0xZZ>", "\n\n\n\t\t\t  \n", "x" * 70,
    " " * 40 + "the", "the " * 90, "ab" * 150, "\u4e2d" * 60, "\U0001f600" * 20, "of the" * 40,
    "<s>", "</s>", "<unk>", "<s>the time</s>", "<s> the time </s> of", "a<s>b", "a <s> b",
    "<s><s>a", " <s>", "<s> ", "<s>\n", "<|user|>\n\n the time<|user|>  of", "<|user|> <|user|>",
    "x <mask> y", "x\t\n<mask>y", "<mask><mask>", "the <mask>", "[INST] the [/INST]", "a[INST]b",
    "_[INST]", " [INST]", "-[INST]-", "of course, of course", "of course", "x of course",
    "\u2581of course", "of\u2581course the of course", "<s>of course", "of course<s> of course",
    "plain", " plain", "xplain plainx", "plain<s>plain the plain",
    "\u00a0\u3000\u0085 x \u00ad\u007f\u0001", "\ufffd\uffff\U0010ffff",
]
WORDS = (
    "the of time and day the the of and in it was the best of times it was the worst of times "
    "course 1 2 10 100 don't can't what is this that then them there these hello world a an as at "
    "theater \u4e2d\u6587 \u4e2d\u6587 \u4e16\u754c caf\u00e9 for if else while return )) (( ... "
    "-- == x1 x2"
).split()


class Tokenizer:
    def __init__(self, root):
        model = root["model"]
        assert model["type"] == "BPE" and model["byte_fallback"], "another kind"
        self.root, self.vocab = root, model["vocab"]
        self.whole = model.get("ignore_merges", False)
        merges = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
        self.ranks = {(a, b): i for i, (a, b) in enumerate(merges)}
        self.added = root["added_tokens"]
        self.written = {i: s for s, i in self.vocab.items()}
        self.written.update({
            t["id"]: self.normalize(t["content"]) if t["normalized"] else t["content"]
            for t in self.added})

    # ---- text to ids ----

    def normalize(self, text, goes_on=False):
        steps = self.root["normalizer"] or {"type": "Sequence", "normalizers": []}
        for step in steps["normalizers"] if steps["type"] == "Sequence" else [steps]:
            if step["type"] == "Prepend":
                text = step["prepend"] + text if text and not goes_on else text
            else:
                text = text.replace(step["pattern"]["String"], step["content"])
        return text

    def pieces(self, text, at_start, goes_on):
        pre = self.root["pre_tokenizer"]
        if not pre:
            return [text]
        text = text.replace(" ", SPACE)
        scheme = pre.get("prepend_scheme", "always")
        if scheme == "first" and not at_start or goes_on and at_start:
            scheme = "never"
        if scheme != "never" and not text.startswith(SPACE):
            text = SPACE + text
        if not pre.get("split", True):
            return [text]
        return [p for p in re.split("(?=%s)" % SPACE, text) if p]

    def matches(self, text, normalized):
        """(None, piece) and (id, its text), with no piece empty"""
        tokens = [t for t in self.added if t["normalized"] == normalized]
        spelled = {self.normalize(t["content"]) if normalized else t["content"]: t for t in tokens}
        out, done, at = [], 0, 0
        while at < len(text):
            found = max((s for s in spelled if text.startswith(s, at)), key=len, default=None)
            if found is None:
                at += 1
                continue
            token, start, stop = spelled[found], at, at + len(found)
            at = stop
            if token["single_word"] and (re.search(r"\w\Z", text[:start]) or
                                         re.match(r"\w", text[stop:])):
                continue
            if token["lstrip"]:
                start = max(done, len(text[:start].rstrip()))
            if token["rstrip"]:
                stop = len(text) - len(text[stop:].lstrip())
            if done < start:
                out.append((None, text[done:start]))
            out.append((token["id"], text[start:stop]))
            done = stop
        if done < len(text):
            out.append((None, text[done:]))
        return out

    def merge(self, piece):
        if self.whole and piece in self.vocab:
            return [self.vocab[piece]]
        symbols = []
        for c in piece:
            symbols += [c] if c in self.vocab else ["<0x%02X>" % b for b in c.encode()]
        while True:
            best = min(((self.ranks[pair], i) for i, pair in enumerate(zip(symbols, symbols[1:]))
                        if pair in self.ranks), default=None)
            if best is None:
                return [self.vocab[s] for s in symbols]
            i = best[1]
            symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]

    def encode(self, text, goes_on=False):
        ids, at = [], 0
        for id, raw in self.matches(text, False):
            first = at == 0
            at += len(raw)
            if id is not None:
                ids.append(id)
                continue
            done = 0
            for id, plain in self.matches(self.normalize(raw, first and goes_on), True):
                begins = first and done == 0
                done += len(plain)
                if id is not None:
                    ids.append(id)
                    continue
                for piece in self.pieces(plain, begins, goes_on):
                    ids += self.merge(piece)
        return ids

    # ---- ids to text ----

    def decode(self, ids):
        steps = self.root["decoder"]["decoders"]
        assert [s["type"] for s in steps[:3]] == ["Replace", "ByteFallback", "Fuse"], steps
        out = b""
        for written in (self.written[i].replace(SPACE, " ") for i in ids):
            byte = re.fullmatch("<0x([0-9A-Fa-f]{2})>", written)
            out += bytes([int(byte[1], 16)]) if byte else written.encode()
        text = out.decode()  # the texts here are all valid
        return text[1:] if len(steps) == 4 and text.startswith(" ") else text


# ---- the fixture ----

def added(id, content, *options):
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": id, "content": content, **{name: name in options for name in names}}


def learn(n):
    """The n most frequent merges of WORDS, ties by spelling."""
    words = collections.Counter(tuple(SPACE + w) for w in WORDS)
    merges = []
    for _ in range(n):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        new = collections.Counter()
        for word, count in words.items():
            word, i = list(word), 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == best:
                    word[i:i + 2] = ["".join(best)]
                i += 1
            new[tuple(word)] += count
        words = new
    return merges


def make():
    """Laid out as Llama's: special tokens, bytes, merges in their order, characters."""
    merges = learn(100)
    # Runs of spaces, a token that reaches across words, and one that other merges starve.
    merges += [(SPACE, SPACE), (SPACE * 2, SPACE * 2), (SPACE + "of", SPACE + "the"),
               ("a", "b"), ("ab", "ab"), ("b", "a")]
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    tokens += ["".join(m) for m in merges]
    letters = SPACE + "abcdefghijklmnopqrstuvwxyz,.!?<>_[]"
    tokens += sorted({c for w in WORDS for c in w} | set(letters))
    tokens = list(dict.fromkeys(tokens))
    n = len(tokens)
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            added(0, "<unk>", "special"), added(1, "<s>", "special"), added(2, "</s>", "special"),
            added(n, "<|user|>", "special", "rstrip"), added(n + 1, "<mask>", "special", "lstrip"),
            added(n + 2, "[INST]", "single_word"), added(n + 3, "of course", "normalized"),
            added(n + 4, "plain", "normalized", "single_word"),
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": SPACE},
            {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                     {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "<s>", "type_id": 1}},
                     {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
            "ignore_merges": False, "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": [" ".join(m) for m in merges]},
    }


def variants(root):
    """Name -> what stands in the place of parts of the file, by their paths."""
    def metaspace(scheme, split=False):
        return {"normalizer": None, "pre_tokenizer": {
            "type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split}}
    replace = root["normalizer"]["normalizers"][1]
    unstripped = {**root["decoder"], "decoders": root["decoder"]["decoders"][:3]}
    return {
        "prepend": {},
        "first": metaspace("first"),
        "always": metaspace("always"),
        "never": {**metaspace("never"), "decoder": unstripped},
        "split": metaspace("first", True),
        "replace": {"normalizer": replace, "decoder": unstripped},
        "whole": {**metaspace("first", True), "model ignore_merges": True,
                  "model merges": [m.split(" ") for m in root["model"]["merges"][20:]
                                   if set("ht") - set(m)]},
    }


def changed(root, changes):
    root = {**root, "model": dict(root["model"])}
    for path, value in changes.items():
        *folder, key = path.split(" ")
        (root[folder[0]] if folder else root)[key] = value
    return root


def random_texts(n):
    random.seed(7)
    parts = WORDS + [" ", "  ", "\n", "<s>", "of course", "<mask>", "\U0001f600", "\u4e2d", SPACE,
                     "<|user|>", "ab", "plain", "[INST]", "\u00e9", "\u0000", "<0x0A>"]
    return ["".join(random.choice(parts) + random.choice(["", "", " "])
                    for _ in range(random.randrange(1, 14))) for _ in range(n)]


def numbers(root):
    """What is in texts.json: ids; what they are decoded to, null where that is the text; and the
    ids of the text where it goes on from another, null where they are the same."""
    texts, out = ODD + random_texts(60), {}
    for name, changes in variants(root).items():
        t, of = Tokenizer(changed(root, changes)), []
        for s in texts:
            ids, more = t.encode(s), t.encode(s, goes_on=True)
            text = t.decode(ids)
            of.append({"ids": ids, "decoded": None if text == s else text,
                       "more": None if more == ids else more})
        out[name] = {"changes": changes, "texts": of}
    return {"made_by": "scripts/make-fixtures.py metaspace, without tokenizers", "texts": texts,
            "variants": out}
