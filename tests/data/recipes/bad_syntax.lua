return sweep {
  name = "x",
  K    = { 8, 4 ],
}
-- says: 3: '}' expected near ']'
