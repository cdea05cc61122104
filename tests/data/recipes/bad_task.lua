return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = topk(),
  tasks   = { "gsm9k/nll" },
}
-- says: 6: sweep.tasks: there is no task 'gsm9k'; known are codealpaca, gsm8k, humaneval, law, mbpp, summary, wordmath
