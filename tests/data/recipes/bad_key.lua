return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = 8,
  routers = {
    topk(),
    seqtopk {
      mode = "global",
      -- maks = 5 in a comment, and { in another
      maks = K + 2,
    },
  },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 10: seqtopk.maks: unknown key; allowed are mode, min, max, segment
