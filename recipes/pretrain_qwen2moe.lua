-- Makes the default model tiny-qwen2moe-2k from nothing: 12.64 million parameters, Qwen1.5-MoE's
-- architecture with its shared expert, 2048 positions. The text, the steps and the time are those of
-- pretrain.lua.
--
--     seqtopk train recipes/pretrain_qwen2moe.lua --device cuda --threads 8
return pretrain {
  name      = "tiny-qwen2moe-2k",
  model     = {
    family = "qwen2_moe", layers = 4, hidden = 256, heads = 4,
    experts = 60, top_k = 4, expert_ffn = 48, shared_ffn = 192,
    context = 2048, rope_theta = 1000000, rms_eps = 1e-6, tied = true,
  },
  tokenizer = "tiny-qwen2moe-2k",         -- its own again; tokenizer = { vocab = 8192 } trains a new one
  data      = {
    file = "corpus/corpus.jsonl", text = "t", source = "s", held_out = 0.01,
    weights = { gsm = 0.25 },
  },
  router       = topk(),
  epochs       = 14,
  batch        = 64,
  length       = 2048,
  micro_tokens = 16384,
  lr           = 2e-3,
  warmup       = 0.05,
  weight_decay = 0.1,
  betas        = { 0.9, 0.95 },
  balance_loss = 0.01,
  z_loss       = 0.001,
  dtype        = "bfloat16",
  save         = "bfloat16",
  seed         = 1,
  out          = "results/models/tiny-qwen2moe-2k",
}
