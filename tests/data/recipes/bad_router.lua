return sweep {
  name    = "x",
  models  = "tiny-olmoe",
  K       = { 8, 4 },
  routers = { topk(), topp { p = 0.9 } },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 5: unknown name 'topp'; known are topk, seqtopk, batchtopk, sweep, none, nll, task, K, N
