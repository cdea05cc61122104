-- What does it cost to train with one selection and to decode with another?
--
--     seqtopk run recipes/global_online.lua       # needs GSM8K: scripts/fetch-data
--     seqtopk table results/global_online.db --against "train = 'global' AND mode = 'global'" --by train
--
-- Fine-tuning on GSM8K at K = 2 under TopK, Global, Online and Strict, and the loss of the test set's answers
-- under each of the four, sixteen pairs, three seeds.
--
-- Expected, after the paper's Table 5: trained with Global and read with Online within 0.5 % of trained
-- and read with Global, and training with Online no better than that. Against it: a loss under Online that
-- is lower after training with Online, by more than its interval; then the mismatch costs something.
local modes = { "global", "online", "strict" }
local function tune(name, router)
  return sft {
    data = "gsm8k/train", steps = 100, batch = 32, length = 640, micro_tokens = 1024,
    lr = 5e-4, schedule = "linear", warmup = 0.05, router = router, name = name,
  }
end

local routers, trains = { topk() }, { tune("topk", topk()) }
for i, mode in ipairs(modes) do
  routers[i + 1] = seqtopk { mode = mode, min = 1, max = K + 2 }
  trains[i + 1] = tune(mode, seqtopk { mode = mode, min = 1, max = K + 2 })
end

return sweep {
  name    = "global_online",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = 2,
  routers = routers,
  train   = trains,
  tasks   = task { "gsm8k/nll", limit = 660, truncate = true },
  seeds   = { 1, 2, 3 },
  log     = { tokens = "none" },
}
