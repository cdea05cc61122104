-- Does SeqTopK's advantage hold for long sequences, and is it the length of the pool that counts?
--
--     scripts/held-out                            # writes data/held_out.jsonl; needs the corpus
--     seqtopk run recipes/length.lua
--     seqtopk table results/length.db --against topk --by task
--     seqtopk plot results/length.db --x segment --against topk
--
-- The first 128, 512 and 2048 tokens of the same long texts; and each with the pool, or the Expert Cache,
-- begun anew every 16, 64, 256 or 1024 tokens (segment), which changes what routes together and nothing
-- else. A segment that is as long as the text is the whole.
--
-- Expected: a difference to TopK that is there at 128 tokens already and does not fade to 2048; by segment
-- a difference that grows with its length and levels off. Against the paper: an advantage that fades as the
-- sequence grows, or that does not hang on the segment at all.
local tasks, routers = {}, { topk() }
for i, length in ipairs { 128, 512, 2048 } do
  tasks[i] = nll {
    name = "first_" .. length, file = "held_out.jsonl", min_bytes = 10000, length = length,
  }
end
for _, mode in ipairs { "global", "online" } do
  for _, segment in ipairs { 0, 16, 64, 256, 1024 } do
    routers[#routers + 1] = seqtopk { mode = mode, min = 1, max = K + 2, segment = segment }
  end
end

return sweep {
  name    = "length",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 4, 2 },
  routers = routers,
  tasks   = tasks,
}
