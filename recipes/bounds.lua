-- Which upper bound for a token's experts, and is the lower one needed?
--
--     seqtopk run recipes/bounds.lua              # needs GSM8K: scripts/fetch-data
--     seqtopk table results/bounds.db --against "mode = 'online' AND min = 1 AND max = k + 2" --by k
--     seqtopk plot results/bounds.db --x max --against topk --where "mode = 'online' AND max <= k + 4"
--
-- Every bound of the paper's Table 7 and two beyond it, [0, K + 2] and [0, N], in modes global and online,
-- on the first half of GSM8K's test set: the loss of the answers. The models are as they were made, with TopK.
--
-- Expected: differences between upper bounds that are small beside the gain over TopK, and no bound that
-- is best everywhere; a lower bound of 0 that costs something at K = 2, where it lets tokens go without
-- any expert. Against the paper: one bound that is better than K + 2 at every K and on both models.
local routers = { topk() }
for _, mode in ipairs { "global", "online" } do
  for _, bound in ipairs { { 1, K + 1 }, { 1, K + 2 }, { 1, K + 3 }, { 1, K + 4 }, { 1, N },
                           { 0, K + 2 }, { 0, N } } do
    routers[#routers + 1] = seqtopk { mode = mode, min = bound[1], max = bound[2] }
  end
end

return sweep {
  name    = "bounds",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4, 2 },
  routers = routers,
  tasks   = task { "gsm8k/nll", limit = 660, truncate = true },
  log     = { tokens = "none" },
}
