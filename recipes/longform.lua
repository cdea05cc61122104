-- Does SeqTopK help where a long text is written?
--
--     scripts/held-out                            # writes data/held_out.jsonl; needs the corpus
--     seqtopk run recipes/longform.lua
--     seqtopk table results/longform.db --metric repetition      # or distinct_1, distinct_2, chrf, nll
--     seqtopk table results/longform.db --against topk --metric repetition --metric chrf --metric nll
--     seqtopk plot results/longform.db            # positions: loss and experts along the text
--
-- The first 256 tokens of held-out texts are written on for 512 tokens, past end tokens too, so that all
-- are equally long, drawn at temperature 0.8 from the likeliest 95 %, with three seeds. (Greedily such small
-- models say nine runs in ten again, under every router: nothing can be told apart there.) What was
-- written is measured by repetition (the share of its runs of 4 tokens that stood before in it; 1 -
-- repetition is distinct-4), by distinct-1 and -2, by chrF against the text's own next 512 tokens, and by the
-- loss that the model gave to it (nll; low is no merit, what repeats itself is likely). The text's own
-- 768 tokens are scored as well: there the loss along the position says how well each router reads.
--
-- Expected, after the paper: SeqTopK's loss on the text's own tokens below TopK's, most at K = 2, and no
-- less so in the last positions than in the first; what it writes repeats itself no more than TopK's.
-- Against the paper: paired intervals that show more repetition or a lower chrF than TopK's, or an advantage
-- in loss that is gone by the last positions.
return sweep {
  name    = "longform",
  models  = { "tiny-olmoe-2k", "tiny-qwen2moe-2k" },
  K       = { 8, 4, 2 },
  routers = {
    topk(),
    seqtopk { mode = "online", min = 1, max = K + 2 },
    seqtopk { mode = "strict", min = 1, max = K + 2 },
  },
  tasks   = {
    continue {
      name = "drawn", file = "held_out.jsonl", min_bytes = 6000, prompt_tokens = 256, max_tokens = 512,
      temperature = 0.8, top_p = 0.95,
    },
    nll { name = "own", file = "held_out.jsonl", min_bytes = 6000, length = 768 },
  },
  seeds   = { 1, 2, 3 },
}
