return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = seqtopk { mode = "globl" },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 5: seqtopk.mode: the text "globl"; allowed is "global" or "online" or "strict"
