-- Do uncertain tokens draw more experts, in every layer, and which tokens are they?
--
--     scripts/held-out                            # writes data/held_out.jsonl; needs the corpus
--     seqtopk run recipes/entropy.lua
--     seqtopk table results/entropy.db --metric spearman --metric spearman_within --metric spearman_between
--     seqtopk plot results/entropy.db --where "task = 'nll:held_out'"   # entropy, kinds: and by layer
--     seqtopk report results/entropy.db           # among it the tokens with most and fewest experts
--
-- All tokens of the documents that the default models were not trained on, and of GSM8K's test problems.
--
-- Expected, after the paper's Figures 2 and 3: Spearman's rho of predictive entropy with experts above 0 in
-- every layer, within documents as over all of them, and more experts for content words, names and code
-- than for punctuation and function words. Against it: a rho of 0 or below in some layer, or kinds of
-- tokens whose order by experts is not their order by entropy. Between documents global gives each the same
-- budget, so nothing can be seen there; batchtopk, whose pool is eight documents, is there for that.
return sweep {
  name    = "entropy",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4, 2 },
  routers = {
    topk(),
    seqtopk { mode = "global", min = 1, max = K + 2 },
    seqtopk { mode = "online", min = 1, max = K + 2 },
    seqtopk { mode = "global", min = 0, max = N },
    batchtopk { batch = 8 },
  },
  tasks   = {
    nll { name = "held_out", file = "held_out.jsonl", truncate = true },
    task { "gsm8k/nll", limit = 400, truncate = true },
  },
}
