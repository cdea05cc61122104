-- How well does the default model know text that it was not trained on? Losses of the documents that
-- recipes/pretrain.lua holds out, as many tokens of each as the model has positions, and of the test sets of
-- GSM8K, MBPP and HumanEval.
--
--     scripts/held-out               -- writes the documents, runs this, prints tables
--
-- tiny-olmoe itself was trained on most of these documents; the test sets are what it has not seen.
return sweep {
  name    = "held_out",
  models  = { "tiny-olmoe" },
  K       = 8,
  routers = topk(),
  tasks   = {
    nll { file = "held_out.jsonl", field = "text", truncate = true },
    "gsm8k/nll", task { "mbpp/nll", truncate = true }, task { "humaneval/nll", truncate = true },
  },
  log     = { tokens = "all" },
}
