return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = topk(),
  tasks   = nll {
    file = "none.jsonl" },
}
-- says: 7: nll.file: none.jsonl: no such file, nor is there 
