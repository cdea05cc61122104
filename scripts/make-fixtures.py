"""Makes tests/data/golden: tiny random models and odd texts, with what Hugging Face's own
`transformers` and `tokenizers` say of them. Needs both, and torch; the tests need none of them.

    python3 scripts/make-fixtures.py OUT_DIR TOKENIZER_JSON...
    python3 scripts/make-fixtures.py gradients OUT_DIR
    python3 scripts/make-fixtures.py check OUT_DIR [NAME...]
    python3 scripts/make-fixtures.py plain OUT_DIR NAME...
    python3 scripts/make-fixtures.py metaspace OUT_DIR
    python3 scripts/make-fixtures.py reference MODEL_DIR TEXTS.jsonl

Each model folder is config.json, model.safetensors and reference.json: token ids of some texts and,
for several K, the loss of every token, the entropy at every position and the experts by layer, in
float32. tokens.json has, for each tokenizer, texts and their ids.

The second line needs none but the files of these folders, and adds gradients.json to those that the
trainer's tests read: for several K, what autograd says of the mean loss of the tokens from
`loss_from` on, in float64. Of each tensor it keeps the gradient's norm and, row-major, 32 elements
evenly spread, element i n / 32 rounded down being the i-th; of a smaller one all. bpe-train is a
tokenizer that was trained here.

The third compares what lies there with what `transformers` makes of the same folders, which it opens
as it opens any, and changes nothing: of all of them, or of those whose NAMEs are said (metaspace is one). The fourth makes folders of MODELS without `transformers`: all
numbers are plain_model.py's, until the third has confirmed them. The fifth makes a tokenizer of the
SentencePiece kind, several ways to write its file, and texts with the ids that plain_tokenizer.py
gives them, for the third to confirm too. The sixth writes reference.json into the folder of a trained
model: for the first seven texts of a file of lines {"text": ...}, and for as many of all of them in one as
have 1500 tokens.
"""
import json
import os
import random
import sys

import torch

sys.dont_write_bytecode = True
import plain_model  # noqa: E402, beside this file
import plain_tokenizer  # noqa: E402

BASE = dict(
    vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=64, hidden_act="silu", attention_dropout=0.0, use_cache=False,
    pad_token_id=None, bos_token_id=None, eos_token_id=0, num_experts=7,
)
MIXTRAL = dict(router_jitter_noise=0.0, rms_norm_eps=1e-5)
QWEN3 = dict(decoder_sparse_step=1, mlp_only_layers=[], use_sliding_window=False,
             sliding_window=None, attention_bias=False, rms_norm_eps=1e-6)
# Every option that the loader reads, on and off, in one model or another.
MODELS = {
    "olmoe-grouped": (
        "olmoe", torch.float32,
        dict(num_key_value_heads=2, intermediate_size=10, norm_topk_prob=True, clip_qkv=0.7,
             tie_word_embeddings=False, rope_theta=5000.0, rms_norm_eps=1e-5),
    ),
    "olmoe-tied": (
        "olmoe", torch.float16,
        dict(num_key_value_heads=4, intermediate_size=6, norm_topk_prob=False, clip_qkv=None,
             tie_word_embeddings=True, rope_theta=10000.0, rms_norm_eps=1e-5),
    ),
    "qwen2-grouped": (
        "qwen2_moe", torch.bfloat16,
        dict(num_key_value_heads=1, intermediate_size=20, moe_intermediate_size=6,
             shared_expert_intermediate_size=14, norm_topk_prob=True, tie_word_embeddings=False,
             decoder_sparse_step=1, mlp_only_layers=[], qkv_bias=True, use_sliding_window=False,
             rope_theta=1000000.0, rms_norm_eps=1e-6),
    ),
    "mixtral-grouped": (
        "mixtral", torch.bfloat16,
        dict(**MIXTRAL, num_local_experts=7, num_key_value_heads=2, intermediate_size=10,
             sliding_window=None, tie_word_embeddings=False, rope_theta=1000000.0),
    ),
    "mixtral-llama3": (
        "mixtral", torch.float32,
        dict(**MIXTRAL, num_hidden_layers=1, num_local_experts=7, num_key_value_heads=1,
             intermediate_size=4, head_dim=8, sliding_window=64, tie_word_embeddings=True,
             rope_parameters=dict(
                 rope_type="llama3", rope_theta=30.0, factor=3.0, low_freq_factor=1.0,
                 high_freq_factor=3.5, original_max_position_embeddings=24)),
    ),
    "qwen3-grouped": (
        "qwen3_moe", torch.bfloat16,
        dict(**QWEN3, num_key_value_heads=2, head_dim=10, intermediate_size=20,
             moe_intermediate_size=6, norm_topk_prob=True, tie_word_embeddings=False,
             rope_parameters=dict(
                 rope_type="yarn", rope_theta=20.0, factor=2.0,
                 original_max_position_embeddings=32)),
    ),
    "qwen3-linear": (
        "qwen3_moe", torch.float16,
        dict(**QWEN3, num_hidden_layers=1, num_key_value_heads=4, head_dim=4, intermediate_size=20,
             moe_intermediate_size=4, norm_topk_prob=False, tie_word_embeddings=True,
             rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
    ),
}
TRAINED = [name for name in MODELS if name not in ("mixtral-llama3", "qwen3-linear")]
KS = (1, 3, 7)
# Of gradients: how many tokens of each text are only read, and how many elements are kept.
GRADIENT_KS = (2, 3)
PROMPTS = (20, 1, 5, 9)
KEPT = 32

TEXTS = [
    "", " ", "a", "Hello, world!", "don't can't I'LL we've THEY'RE", "  two  spaces   three ",
    "tabs\tand\nnewlines\r\nand\n\n\nmore\n", "1234567890 3.14159 1,000,000 0x1F",
    "caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m A\u030angstro\u0308m", "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
    "\u3053\u3093\u306b\u3061\u306f \uc548\ub155\ud558\uc138\uc694",
    "\u1112\u1161\u11ab jamo", "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "\u2028line\u2029para\u00a0nbsp\u3000wide\u180emvs", "x = [i**2 for i in range(10)]  # squares\n\n\tpass",
    "<|endoftext|>", "a<|endoftext|>b <|padding|> <|im_start|>user\n<|im_end|>",
    "\u00b2\u00bd\u2167\u0967 numerals", "_under__score_ ---- ==== !!!???", "'s 't 'S 'ReaL",
    "\ufb01 ligature \u212b \u1e9b\u0323", "\u0000nul\u0001\u007f\u0085ctl", "a" * 70, " " * 40 + "x",
]


def options_of(name):
    family, dtype, extra = MODELS[name]
    options = {**BASE, **extra}
    if "num_local_experts" in extra:
        del options["num_experts"]
    return family, dtype, options


def draw_texts():
    torch.manual_seed(7)
    return [torch.randint(BASE["vocab_size"], (n,)).tolist() for n in (64, 1 + 1, 37, 16)]


def noise(name, shape, dtype):
    values = torch.randn(shape) * 0.3
    return (values + 1 if "norm" in name else values).to(dtype)


def randomise(model, dtype, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(noise(name, p.shape, dtype).float())


def published(config, name):
    """What published checkpoints call a tensor that is not an expert's."""
    return name.replace(".mlp.gate.", ".block_sparse_moe.gate.") \
        if config.model_type == "mixtral" else name


def split_experts(config, state, dtype):
    """The names and shapes of published checkpoints: one matrix for each expert."""
    out = {}
    for name, t in state.items():
        t = t.detach().to(dtype)
        stem, _, kind = name.rpartition(".")
        if kind not in ("gate_up_proj", "down_proj"):
            out[published(config, name)] = t.contiguous().clone()
            continue
        layer = int(stem.split(".")[2])
        for e, m in enumerate(t):
            gate, up, down = plain_model.expert_names({"model_type": config.model_type}, layer, e)
            if kind == "down_proj":
                out[down] = m.contiguous()
            else:
                out[gate], out[up] = (half.contiguous() for half in m.chunk(2, 0))
    return out


def join_experts(config, tensors, names):
    """The other way: float64, under the names that the model has."""
    out = {}
    for name in names:
        stem, _, kind = name.rpartition(".")
        if kind not in ("gate_up_proj", "down_proj"):
            if published(config, name) in tensors:
                out[name] = tensors[published(config, name)].double()
            continue
        layer, experts = int(stem.split(".")[2]), []
        while True:
            of = plain_model.expert_names({"model_type": config.model_type}, layer, len(experts))
            if of[0] not in tensors:
                break
            of = of[2:] if kind == "down_proj" else of[:2]
            experts.append(torch.cat([tensors[n].double() for n in of], 0))
        out[name] = torch.stack(experts)
    return out


def build(config):
    import transformers
    # The plain loop over experts: the fused ones ask for sizes that are multiples of 16 bytes.
    config._experts_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager").float().eval()


def losses(logits, sequence):
    """Of one text, float32 or float64: what reference.json has."""
    x, p = torch.tensor(sequence), torch.log_softmax(logits, -1)
    nll = -p[:-1].gather(1, x[1:, None]).squeeze(1)
    return nll.tolist(), (-(p.exp() * p).sum(-1)).tolist()


def reference(forward, layers, ids, K):
    """forward: ids -> logits [T, vocabulary]"""
    out = []
    with torch.no_grad():
        for sequence in ids:
            nll, entropy = losses(forward(sequence), sequence)
            out.append({
                "nll": [round(v, 6) for v in nll],
                "entropy": [round(v, 6) for v in entropy],
                "experts": [[K] * len(sequence)] * layers,
            })
    return out


def forward_of(model):
    return lambda sequence: model(torch.tensor([sequence])).logits[0].float()


def write_reference(folder, made_by, texts, forward, layers, Ks=KS):
    """texts: each with its ids; forward: K -> what reference() takes"""
    ids = [t["ids"] for t in texts]
    numbers = {
        "made_by": made_by,
        "texts": texts,
        "topk": {str(K): reference(forward(K), layers, ids, K) for K in Ks},
    }
    with open(folder + "/reference.json", "w") as f:
        json.dump(numbers, f)


def by_transformers(what):
    import transformers
    return "scripts/make-fixtures.py%s, transformers %s, torch %s" % (
        what, transformers.__version__, torch.__version__)


def make_model(folder, name):
    import transformers
    from safetensors.torch import save_file
    family, dtype, options = options_of(name)
    config_class = type(transformers.AutoConfig.for_model(family))
    config = config_class(**{**options, "num_experts_per_tok": 2})
    model = build(config)
    randomise(model, dtype, seed=len(name))
    state = model.state_dict()

    def forward(K):
        other = build(config_class(**{**options, "num_experts_per_tok": K}))
        other.load_state_dict(state)
        return forward_of(other)
    os.makedirs(folder, exist_ok=True)
    config.architectures = [type(model).__name__]
    config.dtype = dtype
    config.save_pretrained(folder)
    tensors = split_experts(config, state, dtype)
    if options["tie_word_embeddings"]:
        tensors.pop("lm_head.weight", None)
    save_file(tensors, folder + "/model.safetensors", metadata={"format": "pt"})
    write_reference(folder, by_transformers(""), [{"ids": s} for s in draw_texts()], forward,
                    options["num_hidden_layers"])


def in_float64(run):
    """Hugging Face computes norms, router and softmax in float32, which they name. Here that name
    means float64, so that what is left of the error is not the reference's."""
    narrow, cast = torch.float32, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        return run()
    finally:
        torch.float32 = torch.float = narrow
        torch.Tensor.float = cast


def mean_loss(forward, ids):
    """Of the tokens behind each text's prompt, one text at a time, so that there is no padding."""
    losses = []
    for sequence, prompt in zip(ids, PROMPTS):
        x, logits = torch.tensor(sequence), forward(sequence)
        if logits.dtype != torch.float64:
            sys.exit("make-fixtures: logits are %s, not float64" % logits.dtype)
        p = torch.log_softmax(logits, -1)
        losses.append(-p[prompt - 1:-1].gather(1, x[prompt:, None]).squeeze(1))
    return torch.cat(losses).mean()


def kept(gradient):
    flat = gradient.flatten()
    n = flat.numel()
    at = range(n) if n <= KEPT else [i * n // KEPT for i in range(KEPT)]
    return {
        "norm": float("%.9g" % flat.norm().item()),
        "values": [float("%.9g" % flat[i].item()) for i in at],
    }


def read_config(folder):
    with open(folder + "/config.json") as f:
        return json.load(f)


def gradients(folder, ids, K):
    import transformers
    from safetensors.torch import load_file
    # From a dictionary, since a folder's own dtype would be taken from the file.
    options = read_config(folder)
    for name in ("architectures", "transformers_version", "dtype", "torch_dtype"):
        options.pop(name, None)
    options["num_experts_per_tok"] = K
    config = transformers.AutoConfig.for_model(options.pop("model_type"), **options)
    model = build(config).double()
    names = [name for name, _ in model.named_parameters()]
    tensors = load_file(folder + "/model.safetensors")
    said = model.load_state_dict(join_experts(config, tensors, names), strict=False)
    missing = set(said.missing_keys) - ({"lm_head.weight"} if config.tie_word_embeddings else set())
    if missing or said.unexpected_keys:
        sys.exit("%s: %s, %s" % (folder, missing, said.unexpected_keys))

    def forward(sequence):
        return model(torch.tensor([sequence]), output_router_logits=False).logits[0]
    loss = in_float64(lambda: mean_loss(forward, ids))
    loss.backward()
    own = {name: p.grad for name, p in model.named_parameters()}
    split = split_experts(config, own, torch.float64)
    if set(split) != set(tensors):
        sys.exit("%s: gradients of %s" % (folder, sorted(set(split) ^ set(tensors))))
    return {"loss": loss.item(), "tensors": {name: kept(g) for name, g in sorted(split.items())}}


def texts_of(folder):
    with open(folder + "/reference.json") as f:
        return [t["ids"] for t in json.load(f)["texts"]]


def write_gradients(folder, made_by, gradients_of):
    """gradients_of: folder, ids, K -> what gradients() returns"""
    ids = texts_of(folder)
    numbers = {
        "made_by": made_by,
        "texts": [{"ids": s, "loss_from": n} for s, n in zip(ids, PROMPTS)],
        "topk": {str(K): gradients_of(folder, ids, K) for K in GRADIENT_KS},
    }
    with open(folder + "/gradients.json", "w") as f:
        json.dump(numbers, f)


# ---- without transformers ----

def plain_config(name):
    """As published checkpoints have it: the rotary base at the top level, a scaling apart from it."""
    family, dtype, options = options_of(name)
    rope = dict(options.pop("rope_parameters", {}))
    if rope:
        options["rope_theta"], options["rope_scaling"] = rope.pop("rope_theta"), rope
    return dtype, {
        "architectures": [{"mixtral": "Mixtral", "qwen3_moe": "Qwen3Moe"}[family] + "ForCausalLM"],
        "model_type": family, "torch_dtype": str(dtype).split(".")[1], "num_experts_per_tok": 2,
        **options,
    }


def plain_weights(folder):
    tensors = plain_model.load_tensors(folder + "/model.safetensors")
    return {name: t.double().requires_grad_() for name, t in tensors.items()}


def plain_forward(folder, w, K):
    config = read_config(folder)
    return lambda sequence: plain_model.logits(config, w, sequence, K)


def plain_gradients(folder, ids, K):
    w = plain_weights(folder)
    loss = mean_loss(plain_forward(folder, w, K), ids)
    loss.backward()
    return {"loss": loss.item(), "tensors": {name: kept(t.grad) for name, t in sorted(w.items())}}


def make_plain(folder, name):
    dtype, config = plain_config(name)
    made_by = "scripts/make-fixtures.py plain, torch %s" % torch.__version__
    os.makedirs(folder, exist_ok=True)
    with open(folder + "/config.json", "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
        f.write("\n")
    torch.manual_seed(len(name))
    plain_model.save_tensors(folder + "/model.safetensors", {
        n: noise(n, shape, dtype) for n, shape in plain_model.shapes(config).items()})
    w = plain_weights(folder)
    write_reference(folder, made_by, [{"ids": s} for s in draw_texts()],
                    lambda K: plain_forward(folder, w, K), config["num_hidden_layers"])
    if name in TRAINED:
        write_gradients(folder, made_by, plain_gradients)


# ---- are they what transformers says? ----

def opened(folder, K):
    """The folder as anybody opens it, so that the names of its tensors are checked too."""
    import transformers
    config = transformers.AutoConfig.from_pretrained(folder, num_experts_per_tok=K)
    config._experts_implementation = "eager"
    model, said = transformers.AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager",
        output_loading_info=True)
    if said["missing_keys"] or said["unexpected_keys"]:
        sys.exit("%s: missing %s, unexpected %s" % (
            folder, sorted(said["missing_keys"]), sorted(said["unexpected_keys"])))
    return forward_of(model.eval())


def make_reference(folder, file):
    """Of a trained model: at its own K, half of it and a quarter."""
    from tokenizers import Tokenizer
    t, config = Tokenizer.from_file(folder + "/tokenizer.json"), read_config(folder)
    with open(file, encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line in f]

    def tokens(text):
        return t.encode(text, add_special_tokens=False).ids
    n = 1
    while n < len(texts) and len(tokens("\n\n".join(texts[:n + 1]))) <= 1500:
        n += 1
    K = config["num_experts_per_tok"]
    write_reference(folder, by_transformers(" reference"),
                    [{"text": s, "ids": tokens(s)} for s in texts[:7] + ["\n\n".join(texts[:n])]],
                    lambda K: opened(folder, K), config["num_hidden_layers"],
                    [K, K // 2, K // 4])


def apart(a, b):
    """The largest difference of any two numbers in the same place."""
    if isinstance(a, dict):
        return max([apart(a[k], b[k]) for k in a] or [0]) if a.keys() == b.keys() else float("inf")
    if isinstance(a, list):
        return max([apart(*both) for both in zip(a, b)] or [0]) if len(a) == len(b) else float("inf")
    return abs(a - b)


def gradients_apart(a, b):
    """Relative to each tensor's norm."""
    worst = abs(a["loss"] - b["loss"]) / b["loss"]
    for name, t in b["tensors"].items():
        worst = max(worst, apart(a["tensors"][name], t) / max(t["norm"], 1e-12))
    return worst if a["tensors"].keys() == b["tensors"].keys() else float("inf")


def check(folder, name):
    """forward passes within float32's rounding, gradients within float64's and that of 9 digits"""
    with open(folder + "/reference.json") as f:
        numbers = json.load(f)
    ids, layers = texts_of(folder), read_config(folder)["num_hidden_layers"]
    worst = max(apart(reference(opened(folder, K), layers, ids, K), numbers["topk"][str(K)])
                for K in KS)
    slopes = 0
    if name in TRAINED:
        with open(folder + "/gradients.json") as f:
            numbers = json.load(f)
        slopes = max(gradients_apart(gradients(folder, ids, K), numbers["topk"][str(K)])
                     for K in GRADIENT_KS)
    good = worst <= 2e-5 and slopes <= 3e-6
    print("%s %s: losses and entropies differ by %.2g, gradients by %.2g" % (
        "ok" if good else "not ok", name, worst, slopes))
    return good


def check_metaspace(folder):
    """Ids and texts; what goes on from another text, the library has not."""
    from tokenizers import Tokenizer
    with open(folder + "/tokenizer.json") as f:
        root = json.load(f)
    with open(folder + "/texts.json") as f:
        numbers = json.load(f)
    wrong = []
    for name, variant in numbers["variants"].items():
        t = Tokenizer.from_str(json.dumps(plain_tokenizer.changed(root, variant["changes"])))
        for s, want in zip(numbers["texts"], variant["texts"], strict=True):
            ids = t.encode(s, add_special_tokens=False).ids
            text = t.decode(want["ids"], skip_special_tokens=False)
            if ids != want["ids"] or text != (s if want["decoded"] is None else want["decoded"]):
                wrong.append("%s, %r: %s, not %s; %r" % (name, s, ids, want["ids"], text))
    print("%s metaspace: %d texts, %d differ" % (
        "not ok" if wrong else "ok", len(numbers["texts"]), len(wrong)))
    print("".join("# %s\n" % line for line in wrong), end="")
    return not wrong


def check_all(out, *names):
    # A thread is enough for matrices of 24 rows; many of them wait for one another, more so beside
    # other programs, and most of the time goes there.
    torch.set_num_threads(1)
    known = [*MODELS, "metaspace"]
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit("make-fixtures: check: no %s; there are %s" % (unknown[0], ", ".join(known)))
    good = True
    for name in names or known:
        folder = out + "/" + name
        good &= check_metaspace(folder) if name == "metaspace" else check(folder, name)
        sys.stdout.flush()
    return good


def make_metaspace(folder):
    root = plain_tokenizer.make()
    os.makedirs(folder, exist_ok=True)
    for name, what in (("tokenizer", root), ("texts", plain_tokenizer.numbers(root))):
        with open("%s/%s.json" % (folder, name), "w") as f:
            json.dump(what, f, separators=(",", ":"))
            f.write("\n")


def make_tokens(path, files):
    from tokenizers import Tokenizer
    out = {}
    for file in files:
        t = Tokenizer.from_file(file)
        out[os.path.basename(os.path.dirname(file))] = [
            {"text": s, "ids": t.encode(s, add_special_tokens=False).ids} for s in TEXTS
        ]
    with open(path, "w") as f:
        json.dump(out, f, ensure_ascii=True)


def words(letters, n):
    return "".join(random.choice(letters) for _ in range(n))


def make_trained(out):
    """Texts with what a byte-level pattern cuts apart, NFC changes, and counts that are tied."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    random.seed(7)
    texts = [
        "It's what they'd said: we've 12345 or 1234 of them, haven't we? They're HERE, I'll say. "
        "I'm sure.",
        "for (int i = 0; i < n; i++) {\n    if (a[i] == b[i])\n        return \"a\\\\b\";\n}\n\n\n"
        "\t\tdone\t\n",
        "e\u0301te\u0301 na\u0308ive \u1112\u1161\u11ab \u00e9t\u00e9 na\u00efve \ud55c "
        "A\u030angstro\u0308m \u212bngstr\u00f6m",
        "\U0001f600\U0001f600 \U0001f600\u200d\u2764 \u4e2d\u6587\u7ffb\u8bd1\u4e2d\u6587 "
        "\u00a0\u3000\u0085 x \u00ad\u007f\u0000\u0001",
        "<|endoftext|> and <|endoftext|><|padding|>",
        "",
        "aaaaaaaaaaa aaaaaaa aaa aaaaa aa a aaaa " + "ab" * 9 + " " + "aba" * 5,
    ]
    for i in range(30):
        n = random.randrange(3, 12)
        texts.append(" ".join(words("ab" if i % 2 else "abc", random.randrange(1, 14))
                              for _ in range(n)))
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(iter(texts), trainers.BpeTrainer(
        vocab_size=380, min_frequency=2, show_progress=False,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    os.makedirs(out, exist_ok=True)
    t.save(out + "/tokenizer.json")
    with open(out + "/texts.json", "w") as f:
        json.dump(texts, f, indent=1)


def main():
    verb, rest = sys.argv[1], sys.argv[2:]
    if verb == "gradients":
        for name in TRAINED:
            write_gradients(rest[0] + "/" + name, by_transformers(" gradients"), gradients)
    elif verb == "check":
        sys.exit(0 if check_all(*rest) else 1)
    elif verb == "reference":
        make_reference(*rest)
    elif verb == "metaspace":
        make_metaspace(rest[0] + "/metaspace")
    elif verb == "plain":
        for name in rest[1:]:
            make_plain(rest[0] + "/" + name, name)
    else:
        os.makedirs(verb, exist_ok=True)
        for name in MODELS:
            make_model(verb + "/" + name, name)
        make_tokens(verb + "/tokens.json", rest)
        make_trained(verb + "/bpe-train")
        make_metaspace(verb + "/metaspace")


if __name__ == "__main__":
    main()
