-- Do the gains of SeqTopK and of pruning experts add up? The paper's question 3.
--
--     seqtopk run recipes/pruned.lua              # needs GSM8K: scripts/fetch-data
--     seqtopk table results/pruned.db --against topk --by train
--
-- Each layer loses an eighth, a quarter or half of its experts, those with the smallest load under TopK on
-- 64 of GSM8K's training problems; then the loss of the test set's answers under TopK and SeqTopK, without
-- further training.
--
-- Expected: what pruning costs grows with the share, under either router, and SeqTopK's gain over TopK at
-- K = 2 stays: the two are independent. Against it: a gain that vanishes as experts go (they conflict), or
-- one that grows beyond its intervals (SeqTopK makes up for lost experts).
local function prune(name, share)
  -- A learning rate of 0 changes no weight: what is left is what was.
  return sft {
    data = { "gsm8k/train", limit = 64 }, steps = 1, batch = 1, length = 640, lr = 0,
    name = name, router = topk(), prune = { share = share, texts = 64 },
  }
end

return sweep {
  name    = "pruned",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 4, 2 },
  routers = {
    topk(),
    seqtopk { mode = "global", min = 1, max = K + 2 },
    seqtopk { mode = "online", min = 1, max = K + 2 },
  },
  train   = { none(), prune("less an eighth", 1 / 8), prune("less a quarter", 1 / 4),
              prune("less half", 1 / 2) },
  tasks   = task { "gsm8k/nll", limit = 660, truncate = true },
  seeds   = 1,
  log     = { tokens = "none" },
}
