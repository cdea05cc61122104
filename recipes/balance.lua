-- Does SeqTopK load the experts less evenly, and do some of them see only easy tokens?
--
--     scripts/held-out                            # writes data/held_out.jsonl; needs the corpus
--     seqtopk run recipes/balance.lua
--     seqtopk table results/balance.db --metric load_entropy --metric dead_experts --metric nll
--     seqtopk plot results/balance.db --where "k = 2"   # load: by expert; entropy against load
--
-- All documents that the default models were not trained on, which are of many kinds. load_entropy is the
-- normalised entropy of the experts' load (1: all alike), dead_experts the share that no token took; and
-- for each expert the mean predictive entropy of the tokens that it took.
--
-- Expected, after the paper: a load that is about as even as TopK's. Against it: load_entropy clearly below
-- TopK's in some layer, more dead experts, or a spread of the experts' mean entropies that is much wider
-- than under TopK.
return sweep {
  name    = "balance",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4, 2 },
  routers = {
    topk(),
    seqtopk { mode = "global", min = 1, max = K + 2 },
    seqtopk { mode = "online", min = 1, max = K + 2 },
    seqtopk { mode = "global", min = 0, max = N },
    batchtopk { batch = 8 },
    expert_choice(),
  },
  tasks   = nll { name = "held_out", file = "held_out.jsonl", truncate = true },
  log     = { tokens = "all", expert_entropy = true },
}
