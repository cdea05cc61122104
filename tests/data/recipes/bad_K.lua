return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 65 },
  routers = topk(),
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 4: sweep.K: K = 65 is above N = 64, the experts of model tiny-olmoe-2k
