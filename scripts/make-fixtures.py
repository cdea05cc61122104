"""Makes tests/data/golden: tiny random models and odd texts, with what Hugging Face's own
`transformers` and `tokenizers` say of them. Needs both, and torch; the tests need none of them.

    python3 scripts/make-fixtures.py OUT_DIR TOKENIZER_JSON...
    python3 scripts/make-fixtures.py gradients OUT_DIR

Each model folder is config.json, model.safetensors and reference.json: token ids of some texts and,
for several K, the loss of every token, the entropy at every position and the experts by layer, in
float32. tokens.json has, for each tokenizer, texts and their ids.

The second line needs none but the files of these folders, and adds gradients.json to each: for
several K, what autograd says of the mean loss of the tokens from `loss_from` on, in float64. Of each
tensor it keeps the gradient's norm and, row-major, 32 elements evenly spread, element i n / 32
rounded down being the i-th; of a smaller one all. bpe-train is a tokenizer that was trained here.
"""
import json
import os
import random
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

BASE = dict(
    vocab_size=97, hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=64, hidden_act="silu", attention_dropout=0.0, use_cache=False,
    pad_token_id=None, bos_token_id=None, eos_token_id=0, num_experts=7,
)
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
}
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


def randomise(model, dtype, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape) * 0.3
            p.copy_((noise + 1 if "norm" in name else noise).to(dtype).float())


def split_experts(state, dtype):
    """The names and shapes of published checkpoints: one matrix for each expert."""
    out = {}
    for name, t in state.items():
        t = t.detach().to(dtype)
        if name.endswith("experts.gate_up_proj"):
            for e, m in enumerate(t):
                gate, up = m.chunk(2, 0)
                stem = name[: -len("gate_up_proj")] + "%d." % e
                out[stem + "gate_proj.weight"] = gate.contiguous()
                out[stem + "up_proj.weight"] = up.contiguous()
        elif name.endswith("experts.down_proj"):
            for e, m in enumerate(t):
                out[name[: -len("down_proj")] + "%d.down_proj.weight" % e] = m.contiguous()
        else:
            out[name] = t.contiguous().clone()
    return out


def build(config):
    # The plain loop over experts: the fused ones ask for sizes that are multiples of 16 bytes.
    config._experts_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager").float().eval()


def reference(config_class, options, state, ids, K):
    config = config_class(**{**options, "num_experts_per_tok": K})
    model = build(config)
    model.load_state_dict(state)
    out = []
    with torch.no_grad():
        for sequence in ids:
            x = torch.tensor([sequence])
            p = torch.log_softmax(model(x).logits[0].float(), -1)
            nll = -p[:-1].gather(1, x[0, 1:, None]).squeeze(1)
            entropy = -(p.exp() * p).sum(-1)
            out.append({
                "nll": [round(v, 6) for v in nll.tolist()],
                "entropy": [round(v, 6) for v in entropy.tolist()],
                "experts": [[K] * len(sequence)] * options["num_hidden_layers"],
            })
    return out


def make_model(folder, name):
    family, dtype, extra = MODELS[name]
    options = {**BASE, **extra}
    config_class = type(transformers.AutoConfig.for_model(family))
    config = config_class(**{**options, "num_experts_per_tok": 2})
    model = build(config)
    randomise(model, dtype, seed=len(name))
    state = model.state_dict()
    torch.manual_seed(7)
    ids = [torch.randint(options["vocab_size"], (n,)).tolist() for n in (64, 1 + 1, 37, 16)]
    os.makedirs(folder, exist_ok=True)
    config.architectures = [type(model).__name__]
    config.dtype = dtype
    config.save_pretrained(folder)
    tensors = split_experts(state, dtype)
    if options["tie_word_embeddings"]:
        tensors.pop("lm_head.weight", None)
    save_file(tensors, folder + "/model.safetensors", metadata={"format": "pt"})
    numbers = {
        "made_by": "scripts/make-fixtures.py, transformers %s, torch %s" % (
            transformers.__version__, torch.__version__),
        "texts": [{"ids": s} for s in ids],
        "topk": {str(K): reference(config_class, options, state, ids, K) for K in KS},
    }
    with open(folder + "/reference.json", "w") as f:
        json.dump(numbers, f)


def join_experts(tensors, names):
    """The other way of split_experts(): float64, under the names that the model has."""
    out = {}
    for name in names:
        stem, _, kind = name.rpartition(".")
        if kind not in ("gate_up_proj", "down_proj"):
            if name in tensors:
                out[name] = tensors[name].double()
            continue
        parts = ("gate_proj", "up_proj") if kind == "gate_up_proj" else ("down_proj",)
        experts = []
        while "%s.%d.%s.weight" % (stem, len(experts), parts[0]) in tensors:
            of = "%s.%d." % (stem, len(experts))
            experts.append(torch.cat([tensors[of + p + ".weight"].double() for p in parts], 0))
        out[name] = torch.stack(experts)
    return out


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


def mean_loss(model, ids):
    """Of the tokens behind each text's prompt, one text at a time, so that there is no padding."""
    losses = []
    for sequence, prompt in zip(ids, PROMPTS):
        x = torch.tensor([sequence])
        logits = model(x, output_router_logits=False).logits[0]
        if logits.dtype != torch.float64:
            sys.exit("make-fixtures: logits are %s, not float64" % logits.dtype)
        p = torch.log_softmax(logits, -1)
        losses.append(-p[prompt - 1:-1].gather(1, x[0, prompt:, None]).squeeze(1))
    return torch.cat(losses).mean()


def kept(gradient):
    flat = gradient.flatten()
    n = flat.numel()
    at = range(n) if n <= KEPT else [i * n // KEPT for i in range(KEPT)]
    return {
        "norm": float("%.9g" % flat.norm().item()),
        "values": [float("%.9g" % flat[i].item()) for i in at],
    }


def gradients(folder, ids, K):
    # From a dictionary, since a folder's own dtype would be taken from the file.
    with open(folder + "/config.json") as f:
        options = json.load(f)
    for name in ("architectures", "transformers_version", "dtype", "torch_dtype"):
        options.pop(name, None)
    options["num_experts_per_tok"] = K
    config = transformers.AutoConfig.for_model(options.pop("model_type"), **options)
    model = build(config).double()
    names = [name for name, _ in model.named_parameters()]
    tensors = load_file(folder + "/model.safetensors")
    said = model.load_state_dict(join_experts(tensors, names), strict=False)
    missing = set(said.missing_keys) - ({"lm_head.weight"} if config.tie_word_embeddings else set())
    if missing or said.unexpected_keys:
        sys.exit("%s: %s, %s" % (folder, missing, said.unexpected_keys))
    loss = in_float64(lambda: mean_loss(model, ids))
    loss.backward()
    own = {name: p.grad for name, p in model.named_parameters()}
    split = split_experts(own, torch.float64)
    if set(split) != set(tensors):
        sys.exit("%s: gradients of %s" % (folder, sorted(set(split) ^ set(tensors))))
    return {"loss": loss.item(), "tensors": {name: kept(g) for name, g in sorted(split.items())}}


def make_gradients(folder):
    with open(folder + "/reference.json") as f:
        ids = [t["ids"] for t in json.load(f)["texts"]]
    numbers = {
        "made_by": "scripts/make-fixtures.py gradients, transformers %s, torch %s" % (
            transformers.__version__, torch.__version__),
        "texts": [{"ids": s, "loss_from": n} for s, n in zip(ids, PROMPTS)],
        "topk": {str(K): gradients(folder, ids, K) for K in GRADIENT_KS},
    }
    with open(folder + "/gradients.json", "w") as f:
        json.dump(numbers, f)


def make_tokens(path, files):
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
    if sys.argv[1] == "gradients":
        for name in MODELS:
            make_gradients(sys.argv[2] + "/" + name)
        return
    out, files = sys.argv[1], sys.argv[2:]
    os.makedirs(out, exist_ok=True)
    for name in MODELS:
        make_model(out + "/" + name, name)
    make_tokens(out + "/tokens.json", files)
    make_trained(out + "/bpe-train")


if __name__ == "__main__":
    main()
