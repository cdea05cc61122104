-- Does BatchTopK's score hang on the batch?
--
--     seqtopk run recipes/batch_sensitivity.lua   # needs GSM8K: scripts/fetch-data
--     seqtopk table results/batch_sensitivity.db --against topk
--     seqtopk plot results/batch_sensitivity.db --x batch --against topk
--
-- Pools of 1 to 64 test problems of GSM8K, in the order of the file and in three orders that the seeds draw,
-- with SeqTopK global as the control, whose pool is one problem whatever the batch. A pool of one is
-- SeqTopK: the two must agree to the last bit.
--
-- Expected, after the paper's Figure 6b: losses that move with the batch size more than their paired error,
-- and that move again when the neighbours change. Against it: a curve over the batch size that is flat
-- within its intervals, and a spread over orders that is small beside the gain over TopK.
local routers = { topk(), seqtopk { mode = "global", min = 1, max = K + 2 } }
for _, batch in ipairs { 1, 2, 4, 8, 16, 32, 64 } do
  for _, shuffle in ipairs { "no", "yes" } do
    routers[#routers + 1] = batchtopk { batch = batch, shuffle = shuffle, min = 1, max = K + 2 }
  end
end

return sweep {
  name    = "batch_sensitivity",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 4, 2 },
  routers = routers,
  tasks   = task { "gsm8k/nll", limit = 256, truncate = true },
  seeds   = { 1, 2, 3 },
  log     = { tokens = "none" },
}
