-- Which upper bound does each layer want? The first half of an answer to the paper's question 2, whether
-- the bound can be chosen by data; adaptive_bounds.lua is the other.
--
--     seqtopk run recipes/choose_bounds.lua       # needs GSM8K: scripts/fetch-data
--     seqtopk table results/choose_bounds.db --against "max = k + 2 AND params NOT LIKE '%[%'"
--
-- Every cell is SeqTopK global at K = 2 with the bound K + 2 in all layers but one, whose bound is tried at
-- four other values; the table says what each does to the loss. Texts are problems of GSM8K's training
-- set, so that nothing of the test set decides a bound.
--
-- The rule, laid down before the run: a layer takes the bound of the row with the lowest difference if the
-- whole interval of that row lies below 0, else K + 2.
-- Expected: the paper saw small fluctuations and no bound that is best everywhere, so differences of a few
-- thousandths of a nat, and few layers that leave K + 2.
local depths = { ["OLMoE-1B-7B-0125"] = 16, ["Qwen1.5-MoE-A2.7B"] = 24 }
local depth = options.model and depths[options.model] or 4 -- layers of the default models

local routers = { seqtopk { max = K + 2 } }
for layer = 1, depth do
  for _, bound in ipairs { K + 1, K + 4, K + 8, N } do
    local max = {}
    for l = 1, depth do max[l] = l == layer and bound or K + 2 end
    routers[#routers + 1] = seqtopk { max = max }
  end
end

return sweep {
  name    = "choose_bounds",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = 2,
  routers = routers,
  tasks   = task { "gsm8k/nll", file = "gsm8k/train.jsonl", limit = 400, truncate = true },
  log     = { tokens = "none" },
}
