local list = {}
for i = 1, 1e9 do
  list[i] = ("x"):rep(100000) .. i
end
-- says: it takes more memory than the 64 MB that a file may
