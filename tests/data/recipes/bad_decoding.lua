return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = topk(),
  tasks   = task { "gsm8k/nll", file = "problems.jsonl", temperature = 1 },
}
-- says: 6: task.temperature: 'gsm8k/nll' scores a loss and generates no text; temperature goes with a form that does
