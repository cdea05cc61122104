"""Makes tests/data/golden: tiny random models and odd texts, with what Hugging Face's own
`transformers` and `tokenizers` say of them. Needs both, and torch; the tests need none of them.

    python3 scripts/make-fixtures.py OUT_DIR TOKENIZER_JSON...

Each model folder is config.json, model.safetensors and reference.json: token ids of some texts and,
for several K, the loss of every token, the entropy at every position and the experts by layer, in
float32. tokens.json has, for each tokenizer, texts and their ids.
"""
import json
import os
import sys

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer

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


def make_tokens(path, files):
    out = {}
    for file in files:
        t = Tokenizer.from_file(file)
        out[os.path.basename(os.path.dirname(file))] = [
            {"text": s, "ids": t.encode(s, add_special_tokens=False).ids} for s in TEXTS
        ]
    with open(path, "w") as f:
        json.dump(out, f, ensure_ascii=True)


def main():
    out, files = sys.argv[1], sys.argv[2:]
    os.makedirs(out, exist_ok=True)
    for name in MODELS:
        make_model(out + "/" + name, name)
    make_tokens(out + "/tokens.json", files)


if __name__ == "__main__":
    main()
