-- Makes the default model tiny-olmoe-2k from nothing: 12.65 million parameters, OLMoE's architecture,
-- 2048 positions.
--
--     seqtopk train recipes/pretrain.lua --device cuda --threads 8
--
-- in seven minutes on one H200, 399 million tokens at a million a second. The text is
-- data/corpus/corpus.jsonl, or lies in the folder that SEQTOPK_DATA names: documents of many kinds, one
-- {"s": its source, "t": its text} a line, some 99 MB and 29 million tokens. A hundredth of each source is
-- held out; its losses go to results/tiny-olmoe-2k.db with those of the training. GSM8K's training problems
-- come in every fourth epoch only, so that they are not learnt by heart.
return pretrain {
  name      = "tiny-olmoe-2k",
  model     = {
    family = "olmoe", layers = 4, hidden = 256, heads = 4,
    experts = 64, top_k = 8, expert_ffn = 48,
    context = 2048, tied = true,
  },
  tokenizer = "tiny-olmoe-2k",         -- its own again; tokenizer = { vocab = 8192 } trains a new one
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
  out          = "results/models/tiny-olmoe-2k",
}
