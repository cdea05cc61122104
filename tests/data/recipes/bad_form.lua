return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = topk(),
  tasks   = task { "gsm8k/five" },
}
-- says: 6: task: there is no task 'gsm8k/five'; known of gsm8k are gsm8k/densemixer-0shot, gsm8k/lmeval-5shot, gsm8k/lmeval-cot-8shot, gsm8k/nll
