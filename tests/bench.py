"""The other side of `make bench`: tiny-olmoe-2k in plain PyTorch with a loop over experts.

What a researcher would write by hand: the same weights, float32, TopK routing.

    python3 tests/bench.py score MODEL_DIR SEQUENCES TOKENS REPEATS
    python3 tests/bench.py train MODEL_DIR SEQUENCES TOKENS STEPS
    python3 tests/bench.py decode MODEL_DIR PROMPTS MAX_TOKENS OUT
    python3 tests/bench.py agree OURS THEIRS

score: the loss and the entropy of every token of a batch without padding, all threads. train: steps
of autograd and torch.optim.AdamW on one batch, the very one that bench.c trains on, so that both
sides come to the same loss after a step. decode: greedy decoding with a KV cache, one text at a
time, to the model's end token, MAX_TOKENS or its context; PROMPTS has a line {"ids": [...]} each,
OUT gets the same with what was written. The loop over experts has two forms, over those that were
hit or over all behind a mask as in Hugging Face's implementation, and for train and decode each is
tried with one thread and with all: the fastest of the four is the other side. agree: how far the
texts of both sides are the same.
"""
import json
import math
import os
import struct
import sys
import time

import torch
import torch.nn.functional as F


def load(folder):
    with open(folder + "/config.json") as f:
        config = json.load(f)
    weights = {}
    with open(folder + "/model.safetensors", "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = bytearray(f.read())
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            flat = torch.frombuffer(data, dtype=torch.bfloat16, offset=begin,
                                    count=(end - begin) // 2)
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


def hit_experts(x, w, p, c):
    flat = x.view(-1, x.shape[-1])
    scores = torch.softmax(F.linear(flat, w[p + "gate.weight"]), -1)
    top, chosen = scores.topk(c["num_experts_per_tok"], -1)
    out = torch.zeros_like(flat)
    for e in chosen.unique().tolist():
        token, slot = torch.where(chosen == e)
        q = p + "experts.%d." % e
        h = flat[token]
        h = F.silu(F.linear(h, w[q + "gate_proj.weight"])) * F.linear(h, w[q + "up_proj.weight"])
        h = F.linear(h, w[q + "down_proj.weight"]) * top[token, slot, None]
        out.index_add_(0, token, h)
    return out.view_as(x)


def logits(ids, w, c, loop):
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
        x = x + loop(h, w, p + "mlp.", c)
    x = norm(x, w["model.norm.weight"], c["rms_norm_eps"])
    return F.linear(x, w["model.embed_tokens.weight"])


def score(ids, w, c):
    p = torch.log_softmax(logits(ids, w, c, experts), -1)
    nll = -p[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    return nll, -(p.exp() * p).sum(-1)


def bench_score(folder, sequences, tokens, repeats):
    config, weights = load(folder)
    torch.manual_seed(1)
    ids = torch.randint(config["vocab_size"], (sequences, tokens))
    with torch.no_grad():
        for r in range(-1, repeats):
            start = time.perf_counter()
            score(ids, weights, config)
            if r >= 0:
                seconds = time.perf_counter() - start
                print("score\t%.1f\ttokens/s" % (sequences * tokens / seconds))


def draw(n, vocab):
    """The tokens that bench.c draws."""
    seed, out = 1, []
    for _ in range(n):
        seed = (seed * 1664525 + 1013904223) % 2**32
        out.append((seed >> 8) % vocab)
    return out


class Learner:
    def __init__(self, folder, loop):
        self.c, self.w = load(folder)
        self.loop = loop
        for p in self.w.values():
            p.requires_grad_()
        matrices = [p for p in self.w.values() if p.dim() == 2]
        vectors = [p for p in self.w.values() if p.dim() == 1]
        self.adamw = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
            lr=1e-4, betas=(0.9, 0.999), eps=1e-8)

    def step(self, ids):
        """Returns the loss and the seconds."""
        start = time.perf_counter()
        y = logits(ids, self.w, self.c, self.loop)
        loss = F.cross_entropy(y[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        self.adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.w.values(), 1.0)
        self.adamw.step()
        return loss.item(), time.perf_counter() - start


def bench_train(folder, sequences, tokens, steps):
    tried = []
    for loop in (hit_experts, experts):
        for threads in sorted({1, os.cpu_count()}):
            torch.set_num_threads(threads)
            learner = Learner(folder, loop)
            ids = torch.tensor(draw(sequences * tokens, learner.c["vocab_size"]))
            ids = ids.view(sequences, tokens)
            some = ids[:max(1, sequences // 4)]
            learner.step(some[:1])
            tried.append((learner.step(some)[1], loop, threads))
    for seconds, loop, threads in tried:
        print("bench: PyTorch, %s, threads %d: %.0f tokens/s trained"
              % (loop.__name__, threads, some.numel() / seconds), file=sys.stderr)
    _, loop, threads = min(tried, key=lambda t: t[0])
    torch.set_num_threads(threads)
    learner, total = Learner(folder, loop), 0.0
    for s in range(-1, steps):
        loss, seconds = learner.step(ids)
        if s >= 0:
            print("train\t%.1f\ttokens/s" % (sequences * tokens / seconds))
            total += seconds
        if s == 0:
            print("train-loss\t%.5f\tnats" % loss)
    print("train-100\t%.1f\ts" % (total / steps * 100))


class Decoder:
    """One text that grows. Weights are looked up by name once, not at every token."""

    def __init__(self, w, c):
        self.c, self.d, self.H = c, c["hidden_size"], c["num_attention_heads"]
        self.D, self.K, self.N = self.d // self.H, c["num_experts_per_tok"], c["num_experts"]
        self.context = c["max_position_embeddings"]
        self.embedding, self.norm = w["model.embed_tokens.weight"], w["model.norm.weight"]
        self.loop = self.hit_experts
        frequency = 1.0 / c["rope_theta"] ** (torch.arange(0, self.D, 2).float() / self.D)
        angle = torch.outer(torch.arange(self.context).float(), frequency).repeat(1, 2)
        self.cos, self.sin = angle.cos(), angle.sin()
        layers = range(c["num_hidden_layers"])
        self.layers = [self.layer(w, "model.layers.%d." % i) for i in layers]

    def layer(self, w, p):
        names = ["input_layernorm", "post_attention_layernorm", "mlp.gate"]
        names += ["self_attn.%s_proj" % n for n in "qkvo"] + ["self_attn.%s_norm" % n for n in "qk"]
        layer = {n.split(".")[-1]: w[p + n + ".weight"] for n in names}
        layer["experts"] = [[w[p + "mlp.experts.%d.%s.weight" % (e, n)]
                             for n in ("gate_proj", "up_proj", "down_proj")] for e in range(self.N)]
        layer["keys"] = torch.empty(self.H, self.context, self.D)
        layer["values"] = torch.empty_like(layer["keys"])
        return layer

    def rms(self, x, w):
        return norm(x, w, self.c["rms_norm_eps"])

    def attend(self, h, w, past):
        T, end = h.shape[0], past + h.shape[0]
        q = self.rms(F.linear(h, w["q_proj"]), w["q_norm"])
        k = self.rms(F.linear(h, w["k_proj"]), w["k_norm"])
        v = F.linear(h, w["v_proj"])
        q, k, v = (t.view(T, self.H, self.D).transpose(0, 1) for t in (q, k, v))
        cos, sin = self.cos[past:end], self.sin[past:end]
        w["keys"][:, past:end] = rotate(k, cos, sin)
        w["values"][:, past:end] = v
        scores = rotate(q, cos, sin) @ w["keys"][:, :end].transpose(1, 2) / math.sqrt(self.D)
        if T > 1:
            scores = scores + torch.full((T, end), float("-inf")).triu(past + 1)
        y = torch.softmax(scores, -1) @ w["values"][:, :end]
        return F.linear(y.transpose(0, 1).reshape(T, self.d), w["o_proj"])

    @staticmethod
    def expert(h, w):
        return F.linear(F.silu(F.linear(h, w[0])) * F.linear(h, w[1]), w[2])

    def hit_experts(self, h, w, top, chosen):
        out = torch.zeros_like(h)
        if h.shape[0] == 1:
            for e, weight in zip(chosen[0].tolist(), top[0].tolist()):
                out.add_(self.expert(h, w["experts"][e]), alpha=weight)
            return out
        for e in chosen.unique().tolist():
            token, slot = torch.where(chosen == e)
            y = self.expert(h[token], w["experts"][e])
            out.index_add_(0, token, y * top[token, slot, None])
        return out

    def all_experts(self, h, w, top, chosen):
        out = torch.zeros_like(h)
        mask = F.one_hot(chosen, self.N).permute(2, 1, 0)
        for e in range(self.N):
            slot, token = torch.where(mask[e])
            y = self.expert(h[token], w["experts"][e])
            out.index_add_(0, token, y * top[token, slot, None])
        return out

    def step(self, ids, past):
        """The token that follows `ids`, which stand behind `past` others."""
        x = self.embedding[torch.tensor(ids)]
        for w in self.layers:
            x = x + self.attend(self.rms(x, w["input_layernorm"]), w, past)
            h = self.rms(x, w["post_attention_layernorm"])
            top, chosen = torch.softmax(F.linear(h, w["gate"]), -1).topk(self.K, -1)
            x = x + self.loop(h, w, top, chosen)
        return F.linear(self.rms(x[-1:], self.norm), self.embedding).argmax().item()

    def write(self, prompt, most):
        end, out, feed, past = self.c["eos_token_id"], [], prompt, 0
        room = min(most, self.context - len(prompt))
        while len(out) < room and (not out or out[-1] != end):
            out.append(self.step(feed, past))
            past, feed = past + len(feed), out[-1:]
        return out


def rate(decoder, prompts, most):
    start = time.perf_counter()
    texts = [decoder.write(p, most) for p in prompts]
    return sum(map(len, texts)) / (time.perf_counter() - start), texts


def read_ids(path):
    with open(path) as f:
        return [json.loads(line)["ids"] for line in f]


def bench_decode(folder, path, most, out):
    config, weights = load(folder)
    prompts, decoder, tried = read_ids(path), Decoder(weights, config), []
    for loop in (decoder.hit_experts, decoder.all_experts):
        for threads in sorted({1, os.cpu_count()}):
            torch.set_num_threads(threads)
            decoder.loop = loop
            rate(decoder, prompts[:1], 8)
            tried.append((rate(decoder, prompts[:1], 40)[0], loop, threads))
    for speed, loop, threads in tried:
        print("bench: PyTorch, %s, threads %d: %.0f tokens/s" % (loop.__name__, threads, speed),
              file=sys.stderr)
    _, decoder.loop, threads = max(tried, key=lambda t: t[0])
    torch.set_num_threads(threads)
    speed, texts = rate(decoder, prompts, most)
    print("decode-%d\t%.1f\ttokens/s" % (len(prompts), speed))
    with open(out, "w") as f:
        f.writelines(json.dumps({"ids": t}) + "\n" for t in texts)


def agree(ours, theirs):
    ours, theirs = read_ids(ours), read_ids(theirs)
    same = [0] * len(theirs)
    for i, (a, b) in enumerate(zip(ours, theirs)):
        while same[i] < min(len(a), len(b)) and a[same[i]] == b[same[i]]:
            same[i] += 1
    whole = sum(a == b for a, b in zip(ours, theirs))
    first = sum(n >= min(16, len(b)) for n, b in zip(same, theirs))
    print("%d of %d texts are the same on both sides, %d in their first 16 tokens; "
          "%d of %d tokens before they part"
          % (whole, len(theirs), first, sum(same), sum(map(len, theirs))))


def main():
    mode, args = sys.argv[1], sys.argv[2:]
    if mode == "score":
        bench_score(args[0], *map(int, args[1:]))
    elif mode == "train":
        bench_train(args[0], *map(int, args[1:]))
    elif mode == "decode":
        with torch.inference_mode():
            bench_decode(args[0], args[1], int(args[2]), args[3])
    elif mode == "agree":
        agree(*args)
    else:
        sys.exit("bench.py score, train, decode or agree")


if __name__ == "__main__":
    main()
