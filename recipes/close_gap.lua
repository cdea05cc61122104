-- Can training close the gap between Global and Online? The paper's question 1.
--
--     seqtopk run recipes/close_gap.lua           # needs GSM8K: scripts/fetch-data
--     seqtopk table results/close_gap.db --against "train = 'global' AND mode = 'online'"
--
-- Fine-tuning on GSM8K at K = 2 with Global in all steps, with Online in all, with Online in half of the
-- steps, drawn by the seed, and with a share of Online that rises from none in the first step to all in the
-- last; each then read by Online, as in decoding, and by Global. Three seeds.
--
-- Expected: read by Online, the mixed trainings are at least as good as Global's, and the difference
-- between reading by Online and by Global shrinks with the share of Online. A result that closes the gap:
-- annealed, read by Online, no worse than Global read by Global, with an interval narrower than the gap.
-- Against it: no difference between the trainings larger than their intervals; then at this size there
-- is no gap that training could close.
local function tune(how)
  local t = {
    data = "gsm8k/train", steps = 100, batch = 32, length = 640, micro_tokens = 1024,
    lr = 5e-4, schedule = "linear", warmup = 0.05,
    router = seqtopk { mode = "global", min = 1, max = K + 2 },
  }
  for key, value in pairs(how) do t[key] = value end
  return sft(t)
end

return sweep {
  name    = "close_gap",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = 2,
  routers = {
    seqtopk { mode = "online", min = 1, max = K + 2 },
    seqtopk { mode = "global", min = 1, max = K + 2 },
  },
  train   = {
    tune { name = "global" }, tune { name = "half online", online = 0.5 },
    tune { name = "annealed", online = "anneal" },
    tune { name = "online", router = seqtopk { mode = "online", min = 1, max = K + 2 } },
  },
  tasks   = task { "gsm8k/nll", limit = 660, truncate = true },
  seeds   = { 1, 2, 3 },
  log     = { tokens = "none" },
}
