"""The other side of `make bench`: tiny-olmoe in plain PyTorch with a loop over experts.

What a researcher would write by hand: the same weights, float32, all threads, TopK routing, one
padded-free batch of equal lengths, the loss and the entropy of every token.

    python3 tests/bench.py MODEL_DIR SEQUENCES TOKENS REPEATS
"""
import json
import math
import struct
import sys
import time

import torch
import torch.nn.functional as F


def load(folder):
    with open(folder + "/config.json") as f:
        config = json.load(f)
    with open(folder + "/model.safetensors.index.json") as f:
        shards = sorted(set(json.load(f)["weight_map"].values()))
    weights = {}
    for shard in shards:
        with open(folder + "/" + shard, "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
            data = bytearray(f.read())
        for name, t in header.items():
            if name != "__metadata__":
                begin, end = t["data_offsets"]
                flat = torch.frombuffer(data, dtype=torch.bfloat16, offset=begin, count=(end - begin) // 2)
                weights[name] = flat.reshape(t["shape"]).float()
    return config, weights


def norm(x, w, eps):
    return w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def attention(x, w, p, c, cos, sin, mask):
    B, T, d = x.shape
    H = c["num_attention_heads"]
    q = norm(F.linear(x, w[p + "q_proj.weight"]), w[p + "q_norm.weight"], c["rms_norm_eps"])
    k = norm(F.linear(x, w[p + "k_proj.weight"]), w[p + "k_norm.weight"], c["rms_norm_eps"])
    v = F.linear(x, w[p + "v_proj.weight"])
    q, k, v = (t.view(B, T, H, d // H).transpose(1, 2) for t in (q, k, v))
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    scores = q @ k.transpose(2, 3) / math.sqrt(d // H) + mask
    y = torch.softmax(scores, -1) @ v
    return F.linear(y.transpose(1, 2).reshape(B, T, d), w[p + "o_proj.weight"])


def experts(x, w, p, c):
    flat = x.view(-1, x.shape[-1])
    scores = torch.softmax(F.linear(flat, w[p + "gate.weight"]), -1)
    top, chosen = scores.topk(c["num_experts_per_tok"], -1)
    out = torch.zeros_like(flat)
    mask = F.one_hot(chosen, c["num_experts"]).permute(2, 1, 0)
    for e in range(c["num_experts"]):
        slot, token = torch.where(mask[e])
        q = p + "experts.%d." % e
        h = flat[token]
        h = F.silu(F.linear(h, w[q + "gate_proj.weight"])) * F.linear(h, w[q + "up_proj.weight"])
        h = F.linear(h, w[q + "down_proj.weight"]) * top[token, slot, None]
        out.index_add_(0, token, h)
    return out.view_as(x)


def score(ids, w, c):
    T, D = ids.shape[1], c["hidden_size"] // c["num_attention_heads"]
    frequency = 1.0 / c["rope_theta"] ** (torch.arange(0, D, 2).float() / D)
    angle = torch.outer(torch.arange(T).float(), frequency).repeat(1, 2)
    cos, sin = angle.cos(), angle.sin()
    mask = torch.full((T, T), float("-inf")).triu(1)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        p = "model.layers.%d." % i
        h = norm(x, w[p + "input_layernorm.weight"], c["rms_norm_eps"])
        x = x + attention(h, w, p + "self_attn.", c, cos, sin, mask)
        h = norm(x, w[p + "post_attention_layernorm.weight"], c["rms_norm_eps"])
        x = x + experts(h, w, p + "mlp.", c)
    x = norm(x, w["model.norm.weight"], c["rms_norm_eps"])
    p = torch.log_softmax(F.linear(x, w["model.embed_tokens.weight"]), -1)
    nll = -p[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    return nll, -(p.exp() * p).sum(-1)


def main():
    folder, sequences, tokens, repeats = sys.argv[1], *map(int, sys.argv[2:])
    config, weights = load(folder)
    torch.manual_seed(1)
    ids = torch.randint(config["vocab_size"], (sequences, tokens))
    with torch.no_grad():
        for r in range(-1, repeats):
            start = time.perf_counter()
            score(ids, weights, config)
            if r >= 0:
                print("score\t%.1f\ttokens/s" % (sequences * tokens / (time.perf_counter() - start)))


if __name__ == "__main__":
    main()
