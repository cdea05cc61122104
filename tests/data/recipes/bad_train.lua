return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = topk(),
  tasks   = nll { file = "texts.jsonl" },
  train   = { none(), sft { data = "gsm8k/train", steps = 3, lr = -1e-5 } },
}
-- says: 7: sft.lr: -1e-05; allowed is a number from 0 to 1
