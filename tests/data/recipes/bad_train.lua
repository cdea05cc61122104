return sweep {
  name    = "x",
  models  = "tiny-olmoe",
  K       = { 8, 4 },
  routers = topk(),
  tasks   = nll { file = "texts.jsonl" },
  train   = { sft { steps = 3 } },
}
-- says: 7: sft: training is not in this version
