return sweep {
  name    = "x",
  models  = "tiny-olmoe-2k",
  K       = { 8, 4 },
  routers = { topk(), topq { p = 0.9 } },
  tasks   = nll { file = "texts.jsonl" },
}
-- says: 5: unknown name 'topq'; known are topk, seqtopk, batchtopk, topp, xmoe, expert_choice, threshold, router, sweep, none, sft, pretrain, nll, task, continue, speed, K, N, options
