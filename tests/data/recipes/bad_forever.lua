local n = 0
while true do
  n = n + 1
end
-- says: it takes more instructions than a file may; does it ever end?
