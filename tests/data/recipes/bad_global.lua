return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = { topk(), seqtopk() },
  tasks   = task { "gsm8k/densemixer-0shot", file = "problems.jsonl" },
}
-- says: 5: seqtopk: global selects over whole sequences and so cannot route a text while it is written, as task gsm8k/densemixer-0shot asks; say seqtopk { mode = "online", prefill = "global" } instead
