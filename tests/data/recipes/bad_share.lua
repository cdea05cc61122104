return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = { topk(), topp { p = 0.9 },
              topp { p = 90 } },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 6: topp.p: 90; allowed is a number above 0, up to 1
