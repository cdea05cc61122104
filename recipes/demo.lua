-- What `make demo` runs: does SeqTopK give uncertain tokens more experts than certain ones?
-- Sixty-four short texts, the shipped model, three sparsities; about ten seconds on two cores.
return sweep {
  name    = "demo",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4, 2 },
  routers = {
    topk(),
    seqtopk { mode = "global" },
    seqtopk { mode = "online" },
    seqtopk { mode = "strict" },
    seqtopk { mode = "global", min = 0, max = N },
    batchtopk {},
  },
  tasks   = nll { file = "texts.jsonl" },
}
