"""The other side of `make bench-gpu`: Hugging Face transformers on the same random weights.

    python3 tests/bench_gpu.py SHAPE DIR make
    python3 tests/bench_gpu.py SHAPE DIR copy
    python3 tests/bench_gpu.py SHAPE DIR JOB ...

Jobs are decode BATCH PROMPT NEW REPEATS, score SEQUENCES TOKENS REPEATS and train SEQUENCES TOKENS
REPEATS, one behind the other on a model opened once.

SHAPE: olmoe (OLMoE-1B-7B) or qwen (Qwen1.5-MoE-A2.7B), in bfloat16; qwen-half, half of its layers, since
all of them do not train on 80 GB; or tiny, which a CPU can try.
make writes the folder, with matrices of standard deviation 0.02. The others use transformers as its
users do: SDPA attention, a cache, generate() without sampling and to the full length, and for each job
the fastest of its implementations of experts, which a shorter piece of the same job tells. batched_mm
copies the weights of every pair of token and expert, so it is tried where they are few. An
implementation that fails is told and left out; a job fails where all do. copy: bytes/s of a copy in the
GPU's memory, for the limit that is told beside the figures. Lines are as bench_gpu.c's.
"""
import json
import os
import statistics
import sys
import time
import traceback

import torch

SHAPES = {
    "olmoe": ("olmoe", dict(
        vocab_size=50304, hidden_size=2048, intermediate_size=1024, num_hidden_layers=16,
        num_attention_heads=16, num_key_value_heads=16, num_experts=64, num_experts_per_tok=8,
        norm_topk_prob=False, max_position_embeddings=8192, rope_theta=10000.0,
        rms_norm_eps=1e-5, tie_word_embeddings=False)),
    "qwen": ("qwen2_moe", dict(
        vocab_size=151936, hidden_size=2048, intermediate_size=5632, moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632, num_hidden_layers=24, num_attention_heads=16,
        num_key_value_heads=16, num_experts=60, num_experts_per_tok=4, norm_topk_prob=False,
        max_position_embeddings=8192, rope_theta=1000000.0, rms_norm_eps=1e-6,
        decoder_sparse_step=1, mlp_only_layers=[], qkv_bias=True, use_sliding_window=False,
        tie_word_embeddings=False)),
    "tiny": ("olmoe", dict(
        vocab_size=512, hidden_size=64, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, num_experts=8, num_experts_per_tok=2,
        norm_topk_prob=False, max_position_embeddings=512, rope_theta=10000.0,
        rms_norm_eps=1e-5, tie_word_embeddings=False)),
}
SHAPES["qwen-half"] = (SHAPES["qwen"][0], {**SHAPES["qwen"][1], "num_hidden_layers": 12})
# For steps of decoding, transformers puts batched_mm in grouped_mm's place where this is not set.
NO_SWAP = "TRANSFORMERS_DISABLE_EXPERTS_DECODE_OPTIMIZATION"
FOR_PREFILL = (("grouped_mm", None), ("eager", None))
FOR_DECODING = (("grouped_mm", None), ("grouped_mm", NO_SWAP), ("batched_mm", None), ("eager", None))
device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16


def build(shape, experts):
    import transformers
    family, options = SHAPES[shape]
    config = type(transformers.AutoConfig.for_model(family))(
        **options, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation="sdpa", experts_implementation=experts)
    return config, model.eval()


def make(shape, folder):
    """The names of published checkpoints, one matrix for each expert, 2 GB a file."""
    from safetensors.torch import save_file
    config, model = build(shape, "eager")
    torch.manual_seed(1)
    os.makedirs(folder, exist_ok=True)
    config.architectures = [type(model).__name__]
    config.dtype = dtype
    where, part, size, files = {}, {}, 0, 0

    def flush():
        nonlocal part, size, files
        name = "model-%05d.safetensors" % files
        save_file(part, folder + "/" + name, metadata={"format": "pt"})
        where.update(dict.fromkeys(part, name))
        part, size, files = {}, 0, files + 1

    for name, p in model.named_parameters():
        t = torch.randn(p.shape, device=device, dtype=torch.float32).mul_(0.02)
        t = (t + 1 if "norm" in name else t).to(dtype)
        parts = {name: t}
        if name.endswith("experts.gate_up_proj"):
            stem = name[: -len("gate_up_proj")]
            parts = {}
            for e in range(len(t)):
                gate, up = t[e].chunk(2, 0)
                parts[stem + "%d.gate_proj.weight" % e] = gate
                parts[stem + "%d.up_proj.weight" % e] = up
        elif name.endswith("experts.down_proj"):
            stem = name[: -len("down_proj")]
            parts = {stem + "%d.down_proj.weight" % e: t[e] for e in range(len(t))}
        for key, value in parts.items():
            part[key] = value.contiguous().cpu()
            size += value.numel() * value.element_size()
            if size > 2e9:
                flush()
    flush()
    with open(folder + "/model.safetensors.index.json", "w") as f:
        json.dump({"metadata": {}, "weight_map": where}, f)
    # scripts/bench-gpu takes a folder that has it for whole.
    config.save_pretrained(folder)


def load(shape, folder, experts):
    """The folder's weights in the modules, whatever transformers calls them now."""
    from safetensors.torch import load_file
    _, model = build(shape, experts)
    with open(folder + "/model.safetensors.index.json") as f:
        files = sorted(set(json.load(f)["weight_map"].values()))
    params = dict(model.named_parameters())
    with torch.no_grad():
        for file in files:
            for name, t in load_file(folder + "/" + file, device=device).items():
                if ".experts." not in name:
                    params[name].copy_(t)
                    continue
                stem, e, kind, _ = name.rsplit(".", 3)
                if kind == "down_proj":
                    params[stem + ".down_proj"][int(e)].copy_(t)
                else:
                    to = params[stem + ".gate_up_proj"][int(e)].chunk(2, 0)
                    to[kind == "up_proj"].copy_(t)
    return model


def ids(model, n, tokens):
    seed, out = 1, []
    for _ in range(n * tokens):
        seed = (seed * 1664525 + 1013904223) % 2**32
        out.append((seed >> 8) % model.config.vocab_size)
    return torch.tensor(out, device=device).view(n, tokens)


def wait():
    if device == "cuda":
        torch.cuda.synchronize()


def timed(run):
    wait()
    start = time.perf_counter()
    result = run()
    wait()
    return time.perf_counter() - start, result


def use(model, choice):
    experts, switch = choice
    model.set_experts_implementation(experts)
    os.environ.pop(NO_SWAP, None)
    if switch:
        os.environ[switch] = "1"


def choose_fastest(model, choices, seconds_of):
    """Uses the implementation of experts for which seconds_of(), called a second time, says least."""
    tried = []
    for choice in choices:
        name = choice[0] + (", in steps too" if choice[1] else "")
        try:
            use(model, choice)
            seconds_of()
            tried.append((seconds_of(), choice))
            print("bench: transformers, %s: %.3f s" % (name, tried[-1][0]), file=sys.stderr)
        except Exception as e:  # whatever it is, the others may do
            print("bench: transformers, %s: %s: %s" % (name, type(e).__name__, str(e).split("\n")[0]),
                  file=sys.stderr)
        model.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.empty_cache()
    if not tried:
        raise RuntimeError("no implementation of experts does this job")
    use(model, min(tried, key=lambda t: t[0])[1])


def bench_decode(model, batch, prompt, new, repeats):
    x = ids(model, batch, prompt)

    def write(tokens):
        with torch.no_grad():
            return model.generate(x, attention_mask=torch.ones_like(x), do_sample=False,
                                  min_new_tokens=tokens, max_new_tokens=tokens)

    def whole():
        """What all of the job would take, by its prompt and a few steps."""
        first, _ = timed(lambda: write(1))
        some, _ = timed(lambda: write(5))
        return first + (some - first) / 4 * (new - 1)

    job = "topk-%d-%d" % (batch, prompt)
    choose_fastest(model, FOR_DECODING, whole)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(repeats):
        seconds, out = timed(lambda: write(new))
        if out.shape[1] != prompt + new:
            raise RuntimeError("generate() wrote %d tokens, not %d" % (out.shape[1] - prompt, new))
        print("decode-%s\t%.2f\ttokens/s" % (job, batch * new / seconds), flush=True)
        first, _ = timed(lambda: write(1))
        print("step-%s\t%.4f\tms" % (job, (seconds - first) / (new - 1) * 1e3), flush=True)
    if device == "cuda":
        print("memory-%s\t%.0f\tMB" % (job, torch.cuda.max_memory_allocated() / 1e6), flush=True)


def bench_score(model, n, tokens, repeats):
    x = ids(model, n, tokens)

    def score():
        with torch.no_grad():
            return model(x, use_cache=False).logits

    choose_fastest(model, FOR_PREFILL, lambda: timed(score)[0])
    for r in range(repeats):
        seconds, logits = timed(score)
        print("score-topk-%d-%d\t%.1f\ttokens/s" % (n, tokens, n * tokens / seconds), flush=True)
        if r == 0:
            loss = statistics.mean(
                torch.nn.functional.cross_entropy(a[:-1].float(), b[1:]).item()
                for a, b in zip(logits, x))
            print("score-loss\t%.4f\tnats" % loss, flush=True)
        del logits


def bench_train(model, n, tokens, repeats):
    x = ids(model, n, tokens)

    def gradient():
        model.zero_grad(set_to_none=True)
        loss = model(x, labels=x, use_cache=False).loss
        loss.backward()
        return loss.item()

    choose_fastest(model, FOR_PREFILL, lambda: timed(gradient)[0])
    for r in range(repeats):
        seconds, loss = timed(gradient)
        print("train-topk-%d-%d\t%.1f\ttokens/s" % (n, tokens, n * tokens / seconds), flush=True)
        if r == 0:
            print("train-loss\t%.4f\tnats" % loss, flush=True)
    model.zero_grad(set_to_none=True)


def bench_copy():
    a = torch.empty(2**30, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    b.copy_(a)
    for _ in range(5):
        seconds, _ = timed(lambda: [b.copy_(a) for _ in range(20)])
        print("copy\t%.1f\tGB/s" % (20 * 2 * 2**30 / seconds / 1e9), flush=True)


JOBS = {"decode": (bench_decode, 4), "score": (bench_score, 3), "train": (bench_train, 3)}


def main():
    shape, folder, jobs = sys.argv[1], sys.argv[2], sys.argv[3:]
    if jobs == ["make"]:
        return make(shape, folder)
    if jobs == ["copy"]:
        return bench_copy()
    model, failed = load(shape, folder, FOR_PREFILL[0][0]), []
    while jobs:
        bench, n = JOBS[jobs[0]]
        try:
            bench(model, *map(int, jobs[1:n + 1]))
        except Exception:  # the other jobs are measured all the same
            traceback.print_exc()
            failed.append(jobs[0])
        jobs = jobs[n + 1:]
    return "bench: transformers failed at: %s" % ", ".join(failed) if failed else None


if __name__ == "__main__":
    sys.exit(main())
