-- Every word of a recipe once, and a list built by a loop.
local routers = { topk() }
for _, b in ipairs { { 1, K + 1 }, { 0, N }, { K // 2, 2 * K } } do
  routers[#routers + 1] = seqtopk { mode = "online", min = b[1], max = b[2] }
end
routers[#routers + 1] = batchtopk { batch = 4 }

return sweep {
  name    = "good",
  models  = { "tiny-olmoe-2k" },
  K       = { 8, 4 },
  routers = routers,
  train   = { none() },
  tasks   = { nll { file = "texts.jsonl", limit = 2 }, task { "gsm8k/nll", file = "problems.jsonl" } },
  seeds   = { 0, 1 },
  log     = { tokens = "none" },
  judge   = { command = "cat", model = "echo", tries = 2, timeout = 5 },
  device  = "cpu",
  dtype   = "float32",
}
