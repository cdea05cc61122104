local bounds = { 1, K + 2, "max = 9" }
return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 64 },
  routers = { topk(), seqtopk { mode = "global",
                                min = bounds[1],
                                max = K + 56 }, seqtopk { max = K } },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 8: seqtopk.max: K + 56 is 120 with K = 64 and N = 64 (model tiny-olmoe-2k); allowed is K to N, here 64 to 64
