sweep {
  name = "x",
}
-- says: the recipe returns nothing; it must end in: return sweep { ... }, or in: return pretrain { ... }
