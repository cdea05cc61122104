return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = seqtopk { min = 5 },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 5: seqtopk.min: 5 with K = 4 and N = 64 (model tiny-olmoe-2k); allowed is 0 to K, here 0 to 4
