return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = seqtopk { min = K / 3 },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 5: seqtopk.min: K / 3 is 8/3 with K = 8, and not a whole number
