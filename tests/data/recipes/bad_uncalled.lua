return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = { topk },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 5: sweep.routers: a function that is not called; write NAME { ... } or NAME(); allowed is a router, such as topk() or seqtopk { max = K + 2 }
