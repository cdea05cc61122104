-- How well do the default models know text that they were not trained on? Losses of the documents that
-- recipes/pretrain.lua holds out, as many tokens of each as a model has positions, of the answers of the
-- test sets of GSM8K, MBPP and HumanEval, and of the demo's texts, which were written for it.
--
--     scripts/held-out               -- writes the documents, runs this, prints tables
--     scripts/held-out MODEL...      -- with other models beside them
return sweep {
  name    = "held_out",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4 },
  routers = topk(),
  tasks   = {
    nll { file = "held_out.jsonl", field = "text", truncate = true },
    task { "gsm8k/nll", truncate = true }, task { "mbpp/nll", truncate = true },
    task { "humaneval/nll", truncate = true }, nll { file = "texts.jsonl" },
  },
  log     = { tokens = "all" },
}
