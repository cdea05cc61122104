-- Does SeqTopK's gain over TopK grow with sparsity?
--
--     seqtopk run recipes/sparsity.lua            # needs GSM8K: scripts/fetch-data
--     seqtopk table results/sparsity.db --against topk --by k
--     seqtopk plot results/sparsity.db --x k --against topk
--
-- Each model is fine-tuned on GSM8K's training problems at K = 8, 4 and 2, once under TopK and once under
-- SeqTopK global, and scores the answers of the first half of the test set: with TopK as it was trained; with
-- SeqTopK global, and with online and strict, which could write. Three seeds, which order the problems.
-- tiny-olmoe-2k was made with K = 8, tiny-qwen2moe-2k with 4.
--
-- Expected, if the paper's claim holds at this size: the loss under SeqTopK is below TopK's, the more the
-- smaller K is, and the gain is smaller with a shared expert (Qwen). Against it: intervals of the
-- difference that lie above 0, or that hold 0 and are narrower than the difference at K = 8.
--
-- The default models cannot solve GSM8K, so the loss of the reference answer stands for the score. With
-- --model OLMoE-1B-7B-0125 or Qwen1.5-MoE-A2.7B the settings are those that are known of the paper's
-- fine-tuning, and answers are written too.
local paper = {
  ["OLMoE-1B-7B"] = { lr = 1e-6, batch = 256, schedule = "linear", warmup = 0.03 },
  ["Qwen1.5-MoE"] = { lr = 1e-6, batch = 64, schedule = "cosine", warmup = 0.1 },
}
-- What --model names, by the beginning of its name; any other model gets what the default ones get.
local known
for name, how in pairs(paper) do
  if options.model and string.sub(options.model, 1, #name) == name then known = how end
end

local function tune()
  if known then
    return sft {
      name = "tuned", data = "gsm8k/train", epochs = 4, lr = known.lr, batch = known.batch, length = 4096,
      schedule = known.schedule, warmup = known.warmup,
      dtype = "bfloat16", save = "bfloat16", optimiser = "adamw8bit", checkpointing = true,
    }
  end
  return sft {
    name = "tuned", data = "gsm8k/train", steps = 100, batch = 32, length = 640, micro_tokens = 1024,
    lr = 5e-4, schedule = "linear", warmup = 0.05,
  }
end

local routers = {
  topk(),
  seqtopk { mode = "online", min = 1, max = K + 2 },
  seqtopk { mode = "strict", min = 1, max = K + 2 },
}
local tasks = { task { "gsm8k/nll", limit = 660, truncate = true } }
if known then
  tasks[2] = "gsm8k/densemixer-0shot"
else -- it cannot write, and so is there for the loss alone
  routers[4] = seqtopk { mode = "global", min = 1, max = K + 2 }
end

return sweep {
  name    = "sparsity",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4, 2 },
  routers = routers,
  train   = tune(),
  tasks   = tasks,
  seeds   = { 1, 2, 3 },
  log     = { tokens = "none" },
  dtype   = known and "bfloat16" or "float32",
}
