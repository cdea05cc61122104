return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = topk(),
  tasks   = task { "gsm8k/densemixer-0shot", file = "problems.jsonl", top_p = 0.9 },
}
-- says: 6: task.top_p: 0.9, but at temperature 0 nothing is drawn; say a temperature above 0
