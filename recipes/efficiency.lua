-- Is Online SeqTopK free? Tokens written a second and the memory of its Expert Cache, beside TopK.
--
--     seqtopk run recipes/efficiency.lua          # nothing else should be at work on the machine
--     seqtopk table results/efficiency.db --metric decode_tokens_per_s   # or decode_tokens_per_cpu_s,
--                                                                         # prefill_tokens_per_s, cache_share
--     seqtopk table results/efficiency.db --against topk                  # turn against turn, tokens/s
--
-- Random tokens, the same for every router: 128 are read, 256 are fed one by one behind them. The
-- routers take turns, so that a machine that slows down does so for all; on the CPU one thread writes. The
-- cell's metrics have the median over the repeats, v_samples.extracted each repeat's seconds and bytes.
-- What another machine or another build of the program times are cells of their own: give each a database
-- of its own with --db, or --against cannot tell which goes with which.
-- On a GPU say --device cuda, and there --dtype bfloat16 for a full-size model.
--
-- The paper, with OLMoE-1B-7B on a GPU: 141.23 tokens/s with TopK, 139.41 with Online, 1.3 % less; Expert
-- Cache under 2 % of the keys and values. Expected: Online and Strict within a few per cent of TopK at
-- the same K, less than what K = 8 costs over K = 4. Against the paper: a paired interval of the difference
-- (score) that lies below -5 % of TopK's speed.
-- The share of the cache is arithmetic: N numbers of 4 bytes a token and layer over 2 x kv_heads x
-- head_dim in the model's format. With 64 experts that is 12.5 % in the default models in float32, whose
-- rows have 256 columns, and 3.1 % of OLMoE-1B-7B's in bfloat16, above the paper's 2 %, which counts the
-- numbers alike. On the CPU the heaps that keep it take up to twice that.
return sweep {
  name    = "efficiency",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4, 2 },
  routers = {
    topk(),
    seqtopk { mode = "online", min = 1, max = K + 2 },
    seqtopk { mode = "strict", min = 1, max = K + 2 },
  },
  tasks   = speed { prompt_tokens = 128, tokens = 256, batch = 1, repeats = 21, warmup = 1 },
}
