-- Makes a default model from nothing: 12.65 million parameters, OLMoE's architecture, 2048 positions.
--
--     seqtopk train recipes/pretrain.lua --device cuda
--
-- The text is data/corpus/corpus.jsonl, or lies in the folder that SEQTOPK_DATA names: documents of
-- many kinds, one {"s": its source, "t": its text} a line, some 95 MB. A hundredth of each source is
-- held out; its losses go to results/tiny-olmoe-2k.db with those of the training.
return pretrain {
  name      = "tiny-olmoe-2k",
  model     = {
    family = "olmoe", layers = 4, hidden = 256, heads = 4,
    experts = 64, top_k = 8, expert_ffn = 48,
    context = 2048, tied = true,
  },
  tokenizer = { vocab = 8192 },
  data      = {
    file = "corpus/corpus.jsonl", text = "t", source = "s", held_out = 0.01,
    -- Times that a source comes in an epoch; one that is not here comes once.
    weights = { code = 0.5, linux = 0.5, fort = 0.5, wordnet = 0.5 },
  },
  router       = topk(),
  epochs       = 4,
  batch        = 32,
  length       = 2048,
  micro_tokens = 8192,
  lr           = 2e-3,
  warmup       = 0.02,
  balance_loss = 0.01,
  z_loss       = 0.001,
  dtype        = "float32",
  save         = "bfloat16",
  out          = "results/models/tiny-olmoe-2k",
}
