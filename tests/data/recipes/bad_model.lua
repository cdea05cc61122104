return sweep {
  name    = "x",
  models  = { "tiny-olmoe-2k", "no-such-model" },
  K       = { 8, 4 },
  routers = topk(),
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 3: sweep.models: model 'no-such-model' not found
