-- When does Online part from Global, and does it collapse to TopK?
--
--     scripts/held-out                            # writes data/held_out.jsonl; needs the corpus
--     seqtopk run recipes/gap.lua
--     seqtopk table results/gap.db --against "seqtopk global" --by task
--     seqtopk table results/gap.db --metric overlap_topk --metric overlap_seqtopk_global --metric differ
--     seqtopk plot results/gap.db --where "task = 'nll:first_2048'"  # positions: loss, budget, tokens off K
--
-- The same texts, cut to 128, 512 and 2048 tokens, under Global, Online and Strict. Beside losses and
-- the experts used: of each router's pairs, how many Global, Online and TopK would have selected from
-- the same scores (overlap_...), the share of tokens and layers whose number of experts is not K
-- (differ), and both along the position.
--
-- Expected: Online's loss above Global's by little, the gap largest in the first tokens, where the Expert
-- Cache is empty, and gone by some hundred; an overlap of Online with Global that grows with the length
-- and is far above its overlap with TopK. Against the paper: a gap that grows with the position, a budget
-- that drifts away from K, or a number of experts that is K for nearly every token (a collapse to TopK,
-- which reviewers asked about).
local tasks = {}
for i, length in ipairs { 128, 512, 2048 } do
  tasks[i] = nll {
    name = "first_" .. length, file = "held_out.jsonl", min_bytes = 10000, length = length,
  }
end

return sweep {
  name    = "gap",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4, 2 },
  routers = {
    topk(),
    seqtopk { mode = "global", min = 1, max = K + 2 },
    seqtopk { mode = "online", min = 1, max = K + 2 },
    seqtopk { mode = "strict", min = 1, max = K + 2 },
  },
  tasks   = tasks,
  log     = {
    tokens  = "all",
    overlap = {
      topk(), seqtopk { mode = "global", min = 1, max = K + 2 },
      seqtopk { mode = "online", min = 1, max = K + 2 },
    },
  },
}
