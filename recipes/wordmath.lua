-- Does a model that is fine-tuned and read under SeqTopK solve more word problems than under TopK?
--
--     seqtopk run recipes/wordmath.lua
--
-- tiny-olmoe-2k at K = 2, a quarter of the experts that it was made with, fine-tuned on wordmath's
-- training set under the router that then reads and writes: TopK; SeqTopK, trained in mode global and
-- decoding online. Three seeds, which shuffle the training; 1000 problems that no training problem
-- equals. Trained for 240 steps, so that either solves some and neither all of them.
-- Expected: the paper's gain grows with sparsity, so SeqTopK above TopK by some points. Against it:
-- a paired interval that lies below 0, or around it and is narrower than the gain.
return sweep {
  name    = "wordmath",
  models  = "tiny-olmoe-2k",
  K       = 2,
  routers = { topk(), seqtopk { mode = "online", min = 1, max = K + 2 } },
  train   = sft {
    data = "wordmath/train", steps = 240, batch = 32, length = 256, micro_tokens = 1024,
    lr = 1e-3, schedule = "linear", warmup = 0.05,
  },
  tasks   = { "wordmath/0shot", "wordmath/nll" },
  seeds   = { 1, 2, 3 },
}
