-- Can the upper bound be chosen for each layer by data? The paper's question 2.
--
--     seqtopk run recipes/adaptive_bounds.lua     # needs GSM8K: scripts/fetch-data
--     seqtopk table results/adaptive_bounds.db --against "mode = 'online' AND params LIKE '%max_:4,%'"
--
-- The bounds that recipes/choose_bounds.lua chose on training problems, beside
-- the same bound in every layer, from K + 1 to K + 4 and N, on GSM8K's test set at K = 2, which had no part in
-- the choice. By its rule tiny-olmoe-2k takes K + 1 in its last layer and tiny-qwen2moe-2k in its first, and
-- K + 2 elsewhere; each model is also given the other's, which shows what a choice for nobody is worth.
--
-- Expected: the chosen bounds are no worse than the best of the fixed ones, by some thousandths of a nat at
-- most, since the fixed ones hardly differ. Against a use of such a choice: an interval of the difference
-- to K + 2 that holds 0.
local function routers_of(mode, out)
  for _, max in ipairs { K + 1, K + 2, K + 3, K + 4, N,
                         { K + 2, K + 2, K + 2, K + 1 },     -- chosen for tiny-olmoe-2k
                         { K + 1, K + 2, K + 2, K + 2 } } do -- chosen for tiny-qwen2moe-2k
    out[#out + 1] = seqtopk { mode = mode, min = 1, max = max }
  end
end

local routers = { topk() }
routers_of("global", routers)
routers_of("online", routers)

return sweep {
  name    = "adaptive_bounds",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = 2,
  routers = routers,
  tasks   = task { "gsm8k/nll", truncate = true },
  log     = { tokens = "none" },
}
