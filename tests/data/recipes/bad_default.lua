return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = 63,
  routers = seqtopk {},
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 5: seqtopk: max: the default K + 2 is 65 with K = 63 and N = 64 (model tiny-olmoe-2k); allowed is K to N, here 63 to 64
