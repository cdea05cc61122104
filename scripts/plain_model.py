"""A decoder of each family in plain PyTorch, as short as it can be: what scripts/make-fixtures.py
takes the numbers of a model from where there is no `transformers`, which can confirm them later.

Written from the papers (rotary positions, YaRN, RMS norm, SwiGLU, Mixtral, Qwen3) and the meaning of
the keys of config.json, apart from the program's own decoder. Nothing is fast: a text at a time, an
expert at a time, all in float64 but for the rotary frequencies, which transformers has in float32.

T tokens, d hidden, H heads and G key/value heads of D, N experts of F.
"""
import json
import math

import torch
import torch.nn.functional as F

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


# ---- files ----

def load_tensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    out = {}
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            flat = torch.frombuffer(bytearray(data[begin:end]), dtype=DTYPES[t["dtype"]])
            out[name] = flat.reshape(t["shape"])
    return out


def save_tensors(path, tensors):
    names = {dtype: name for name, dtype in DTYPES.items()}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, t in sorted(tensors.items()):
        raw = bytes(t.contiguous().flatten().view(torch.uint8).tolist())
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + data)


# ---- names and shapes ----

def expert_names(config, layer, e):
    """Of gate, up and down."""
    if config["model_type"] == "mixtral":
        stem, names = "model.layers.%d.block_sparse_moe.experts.%d.", ("w1", "w3", "w2")
    else:
        stem, names = "model.layers.%d.mlp.experts.%d.", ("gate_proj", "up_proj", "down_proj")
    return [stem % (layer, e) + n + ".weight" for n in names]


def router_name(config, layer):
    block = "block_sparse_moe" if config["model_type"] == "mixtral" else "mlp"
    return "model.layers.%d.%s.gate.weight" % (layer, block)


def experts_of(config):
    return config.get("num_local_experts") or config["num_experts"]


def head_dim(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def shapes(config):
    """Every tensor of a checkpoint, as published ones name them. For mixtral and qwen3_moe alone."""
    d, D = config["hidden_size"], head_dim(config)
    H, G = config["num_attention_heads"], config["num_key_value_heads"]
    qwen3 = config["model_type"] == "qwen3_moe"
    width = config["moe_intermediate_size" if qwen3 else "intermediate_size"]
    out = {"model.embed_tokens.weight": (config["vocab_size"], d)}
    for n in range(config["num_hidden_layers"]):
        stem = "model.layers.%d." % n
        out[stem + "input_layernorm.weight"] = (d,)
        for name, rows in (("q", H * D), ("k", G * D), ("v", G * D)):
            out[stem + "self_attn.%s_proj.weight" % name] = (rows, d)
        out[stem + "self_attn.o_proj.weight"] = (d, H * D)
        if qwen3:
            out[stem + "self_attn.q_norm.weight"] = out[stem + "self_attn.k_norm.weight"] = (D,)
        out[stem + "post_attention_layernorm.weight"] = (d,)
        out[router_name(config, n)] = (experts_of(config), d)
        for e in range(experts_of(config)):
            gate, up, down = expert_names(config, n, e)
            out[gate] = out[up] = (width, d)
            out[down] = (d, width)
    out["model.norm.weight"] = (d,)
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = (config["vocab_size"], d)
    return out


# ---- rotary positions ----

def frequencies(config):
    """What each pair of dimensions turns by from one position to the next, float32 [D/2], and what
    cosines and sines are multiplied by."""
    D = head_dim(config)
    rope = {"rope_theta": config.get("rope_theta"),
            **(config.get("rope_scaling") or config.get("rope_parameters") or {})}
    theta, kind = rope["rope_theta"], rope.get("rope_type", "default")
    positions = theta ** (torch.arange(0, D, 2).to(torch.float32) / D)  # that a radian takes
    turn = 1.0 / positions
    if kind == "default":
        return turn, 1.0
    factor = rope["factor"]
    if kind == "linear":
        return turn / factor, 1.0
    context = rope.get("original_max_position_embeddings", config["max_position_embeddings"])
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = context / (2 * math.pi / turn)  # in the context of old
        kept = ((turns - low) / (high - low)).clamp(0, 1)
        return (1 - kept) * turn / factor + kept * turn, 1.0
    assert kind == "yarn"

    def pair(n):
        """The pair that turns n times in the context of old, as a real number."""
        return D * math.log(context / (n * 2 * math.pi)) / (2 * math.log(theta))
    low, high = pair(rope.get("beta_fast", 32)), pair(rope.get("beta_slow", 1))
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, D - 1)
    kept = 1 - ((torch.arange(D // 2).float() - low) / max(high - low, 1e-3)).clamp(0, 1)
    size = rope.get("attention_factor") or 0.1 * math.log(factor) + 1
    return 1.0 / (factor * positions) * (1 - kept) + turn * kept, size


def rotate(x, config):
    """x: [T, heads, D]; dimension i of the first half and i of the second are a pair."""
    turn, size = frequencies(config)
    angle = torch.arange(x.shape[0]).double()[:, None] * turn.double()
    cos, sin = size * angle.cos()[:, None], size * angle.sin()[:, None]
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


# ---- a layer ----

def norm(x, weight, eps):
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def attention(config, w, stem, x):
    D, H, G = head_dim(config), config["num_attention_heads"], config["num_key_value_heads"]
    family, eps, T = config["model_type"], config["rms_norm_eps"], x.shape[0]
    q, k, v = (F.linear(x, w[stem + "%s_proj.weight" % n], w.get(stem + "%s_proj.bias" % n))
               for n in "qkv")
    if family == "olmoe":
        q, k = norm(q, w[stem + "q_norm.weight"], eps), norm(k, w[stem + "k_norm.weight"], eps)
        if config.get("clip_qkv"):
            q, k, v = (t.clamp(-config["clip_qkv"], config["clip_qkv"]) for t in (q, k, v))
    q, k, v = q.view(T, H, D), k.view(T, G, D), v.view(T, G, D)
    if family == "qwen3_moe":
        q, k = norm(q, w[stem + "q_norm.weight"], eps), norm(k, w[stem + "k_norm.weight"], eps)
    q, k = rotate(q, config), rotate(k, config)
    heads = []
    for h in range(H):
        g = h // (H // G)
        score = q[:, h] @ k[:, g].T / math.sqrt(D)
        score = score + torch.full((T, T), -math.inf, dtype=x.dtype).triu(1)
        heads.append(score.softmax(-1) @ v[:, g])
    return F.linear(torch.cat(heads, -1), w[stem + "o_proj.weight"])


def swiglu(x, gate, up, down):
    return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


def experts(config, w, layer, x, K):
    score = F.linear(x, w[router_name(config, layer)]).softmax(-1)
    weight, chosen = score.topk(K, -1)
    if config["model_type"] == "mixtral" or config["norm_topk_prob"]:
        weight = weight / weight.sum(-1, keepdim=True)
    dense = torch.zeros_like(score).scatter(1, chosen, weight)
    out = torch.zeros_like(x)
    for e in range(experts_of(config)):
        out = out + dense[:, e:e + 1] * swiglu(x, *(w[n] for n in expert_names(config, layer, e)))
    stem = "model.layers.%d.mlp.shared_expert" % layer
    if config["model_type"] == "qwen2_moe":
        shared = swiglu(x, *(w[stem + ".%s_proj.weight" % n] for n in ("gate", "up", "down")))
        out = out + F.linear(x, w[stem + "_gate.weight"]).sigmoid() * shared
    return out


def logits(config, w, ids, K):
    """w: the tensors of a checkpoint in float64 -> [T, vocabulary]"""
    eps = config["rms_norm_eps"]
    x = w["model.embed_tokens.weight"][torch.tensor(ids)]
    for n in range(config["num_hidden_layers"]):
        stem = "model.layers.%d." % n
        x = x + attention(config, w, stem + "self_attn.",
                          norm(x, w[stem + "input_layernorm.weight"], eps))
        h = norm(x, w[stem + "post_attention_layernorm.weight"], eps)
        x = x + experts(config, w, n, h, K)
    head = w["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"]
    return F.linear(norm(x, w["model.norm.weight"], eps), head)
