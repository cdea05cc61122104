-- The reference sweep behind results/gsm8k_sweep: every router and bound at three sparsities, on
-- the first 200 items of GSM8K's test set: loss of the answers, experts and entropy of all tokens.
--
-- Needs GSM8K's test.jsonl as data/gsm8k/test.jsonl, or in the folder that SEQTOPK_DATA names.
local bounds = { { 1, K + 1 }, { 1, K + 2 }, { 1, K + 4 }, { 0, N } }
local routers = { topk() }
for _, mode in ipairs { "global", "online", "strict" } do
  for _, b in ipairs(bounds) do
    routers[#routers + 1] = seqtopk { mode = mode, min = b[1], max = b[2] }
  end
end
routers[#routers + 1] = batchtopk { batch = 8 }

return sweep {
  name    = "gsm8k_sweep",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4, 2 },
  routers = routers,
  tasks   = task { "gsm8k/nll", limit = 200 },
}
