-- Wordmath: word problems of one to four steps with worked answers in GSM8K's format, made here
-- from a seed and so the same everywhere. Small models differ in how many of them they get right.
--
-- Document d (from 0), in the test set and in the training set, has
--
--     steps       = 1 + d % 4
--     distractors = d // 4 % 2         sentences with a number that does not matter
--     large       = d // 8 % 5 // 4    1: results up to 200, else up to 60
--
-- and difficulty is the sum of the three, from 1 to 6. So SQL can group v_samples by `doc % 4`.
--
-- A problem's key is the kinds of its steps and all their numbers; names, things, words and
-- distractors are not in it. Its hash decides whether the problem may be in the test set or in the
-- training set, so none of one is a problem of the other in other words. No key is twice in the
-- test set. Answers are right because each line is computed where it is written.

local seed = 20251106

-- ---- numbers by chance: splitmix64, in whole numbers of 64 bits that wrap around ----

local function mix(z)
  z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
  z = (z ~ (z >> 27)) * 0x94D049BB133111EB
  return z ~ (z >> 31)
end

local state

local function below(n)
  state = state + 0x9E3779B97F4A7C15
  return (mix(state) >> 33) % n
end

local function from_to(lo, hi)
  if hi < lo then return nil end
  return lo + below(hi - lo + 1)
end

local function pick(list)
  return list[1 + below(#list)]
end

-- ---- words ----

local names = {
  "Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ivy", "Jack", "Kate", "Leo",
  "Mary", "Nick", "Olga", "Paul", "Rosa", "Sam", "Tina", "Victor", "Wendy", "Tom", "Lucy", "Max",
}
local things = {
  { "apple", "apples" }, { "pencil", "pencils" }, { "sticker", "stickers" },
  { "marble", "marbles" }, { "book", "books" }, { "card", "cards" }, { "shell", "shells" },
  { "egg", "eggs" }, { "cookie", "cookies" }, { "stamp", "stamps" }, { "orange", "oranges" },
  { "toy", "toys" }, { "flower", "flowers" }, { "balloon", "balloons" }, { "stone", "stones" },
  { "button", "buttons" }, { "nut", "nuts" }, { "lemon", "lemons" },
}
local holders = {
  { "box", "boxes" }, { "bag", "bags" }, { "basket", "baskets" }, { "jar", "jars" },
}
local goods = { { "pen", "pens" }, { "cup", "cups" }, { "ball", "balls" }, { "cake", "cakes" } }
local buys = { "lunch", "a hat", "a game", "a book", "shoes", "a gift" }
local wishes = { "bike", "lamp", "coat", "guitar", "phone" }
local parts = { { 3, "third" }, { 4, "quarter" }, { 5, "fifth" } }
local jobs = { { "picture", "paints" }, { "letter", "writes" }, { "page", "reads" },
  { "room", "cleans" } }

-- Somebody of whom nothing was said yet.
local function other(p)
  local name = pick(names)
  while p.met[name] do name = pick(names) end
  p.second = name
  return name
end

-- ---- what a step is made of ----

-- "3 + 4 = <<3+4=7>>7"; dollars = "$" where the result is money.
local function worked(a, op, b, result, dollars)
  return a .. " " .. op .. " " .. b .. " = " .. (dollars or "") .. "<<" .. a .. op .. b .. "="
    .. result .. ">>" .. result
end

-- A number to add or to take away.
local function term(p)
  if p.large then return from_to(11, 40) end
  return from_to(2, 12)
end

-- What no result is above.
local function most(p) return p.large and 200 or 60 end

local function factor(p, a)
  return from_to(2, math.min(p.large and 12 or 5, most(p) // a))
end

-- One of the numbers from 2 to 12 that divide a, with at least 2 as the result.
local function divisor(a)
  local found = {}
  for b = 2, 12 do
    if a % b == 0 and a // b >= 2 then found[#found + 1] = b end
  end
  return #found > 0 and pick(found) or nil
end

-- The value that p.v becomes; nil where it is not one that a problem may have.
local function apply(p, op, b)
  if not b then return nil end
  local a = p.v
  local result
  if op == "+" then result = a + b
  elseif op == "-" then result = a - b
  elseif op == "*" then result = a * b
  else
    if a % b ~= 0 then return nil end
    result = a // b
  end
  if result < 2 or result > most(p) then return nil end
  return result
end

-- Puts words into a text: {X} is who it is about, {Y} another one, {b} the number, {t} the things,
-- {=} the sum.
local function fill(text, p, b, sum)
  local out, from = {}, 1
  local i = 1
  while i <= #text do
    if string.byte(text, i) == 123 then -- {
      out[#out + 1] = string.sub(text, from, i - 1)
      local word = string.sub(text, i + 1, i + 1)
      if word == "X" then out[#out + 1] = p.who
      elseif word == "Y" then out[#out + 1] = p.second
      elseif word == "b" then out[#out + 1] = b
      elseif word == "t" then out[#out + 1] = p.thing[2]
      else out[#out + 1] = sum end
      i = i + 3
      from = i
    else
      i = i + 1
    end
  end
  out[#out + 1] = string.sub(text, from)
  return table.concat(out)
end

-- Takes the step: what the problem says, its line of the answer and the question behind it.
local function step(p, op, b, say, line, ask)
  local result = apply(p, op, b)
  if not result then return false end
  local sum = worked(p.v, op, b, result, p.dollars)
  p.says[#p.says + 1] = fill(say, p, b)
  p.lines[#p.lines + 1] = fill(line, p, b, sum)
  p.ask = fill(ask, p, b)
  p.numbers[#p.numbers + 1] = b
  p.v = result
  if p.second then p.met[p.second] = true end
  return true
end

-- From here on it is about {Y}.
local function turn(p, taken)
  if taken then p.who = p.second end
  return taken
end

-- ---- kinds of steps: each takes the step, or returns false where the numbers do not allow it ----

local how_many_now = "How many {t} does {X} have now?"
local how_many_left = "How many {t} does {X} have left?"
local how_many_has = "How many {t} does {Y} have?"
local dollars_now = "How many dollars does {X} have now?"
local dollars_left = "How many dollars does {X} have left?"

local kinds = {}

-- Things that {X} has.
kinds.things = {
  { "gain", function(p)
    other(p)
    return step(p, "+", term(p), pick { "{X} finds {b} more {t}.", "{X} buys {b} more {t}.",
      "{Y} gives {X} {b} more {t}." }, "{X} now has {=} {t}.", how_many_now)
  end },
  { "lose", function(p)
    other(p)
    return step(p, "-", term(p), pick { "{X} gives {b} {t} to {Y}.", "{X} loses {b} {t}.",
      "{X} sells {b} {t}." }, "{X} has {=} {t} left.", how_many_left)
  end },
  { "more", function(p)
    other(p)
    return turn(p, step(p, "+", term(p), "{Y} has {b} more {t} than {X}.", "{Y} has {=} {t}.",
      how_many_has))
  end },
  { "fewer", function(p)
    other(p)
    return turn(p, step(p, "-", term(p), "{Y} has {b} fewer {t} than {X}.", "{Y} has {=} {t}.",
      how_many_has))
  end },
  { "times", function(p)
    other(p)
    return turn(p, step(p, "*", factor(p, p.v), "{Y} has {b} times as many {t} as {X}.",
      "{Y} has {=} {t}.", how_many_has))
  end },
  { "half", function(p)
    other(p)
    return step(p, "/", 2, pick { "{X} gives half of the {t} to {Y}.",
      "{X} loses half of the {t}." }, "{X} has {=} {t} left.", how_many_left)
  end },
  { "part", function(p)
    local part = pick(parts)
    return step(p, "/", part[1],
      "{X} keeps a " .. part[2] .. " of the {t} and gives away the rest.", "{X} keeps {=} {t}.",
      "How many {t} does {X} keep?")
  end },
  { "percent", function(p)
    local percent = pick { 10, 20, 25, 50 }
    if p.v * percent % 100 ~= 0 or p.v * percent // 100 < 2 then return false end
    local a, result = p.v, p.v * percent // 100
    p.says[#p.says + 1] = fill("{X} keeps {b}% of the {t} and sells the rest.", p, percent)
    p.lines[#p.lines + 1] = fill("{X} keeps {=} {t}.", p, percent,
      worked(a, "*", percent .. "/100", result))
    p.ask = fill("How many {t} does {X} keep?", p)
    p.numbers[#p.numbers + 1] = percent
    p.v = result
    return true
  end },
  { "share", function(p)
    other(p)
    return turn(p, step(p, "/", divisor(p.v),
      "{X} shares the {t} equally among {b} friends, and {Y} is one of them.", "{Y} gets {=} {t}.",
      "How many {t} does {Y} get?"))
  end },
  { "pack", function(p)
    local b = divisor(p.v)
    local holder = pick(holders)
    if not b or p.packed then return false end
    local whole = fill("{X} puts all the {t} into " .. holder[2] .. ", with {b} in each.", p, b)
    p.thing, p.packed = holder, true
    return step(p, "/", b, whole, "{X} fills {=} {t}.", "How many {t} does {X} fill?")
  end },
  { "sell", function(p)
    p.dollars = "$"
    local each = p.thing[1]
    local taken = step(p, "*", factor(p, p.v), "{X} sells every " .. each .. " for ${b}.",
      "{X} gets {=}.", "How many dollars does {X} get?")
    if taken then p.about = "money" else p.dollars = nil end
    return taken
  end },
  { "together", function(p)
    other(p)
    return step(p, "+", term(p), "{Y} has {b} {t}.", "Together they have {=} {t}.",
      "How many {t} do {X} and {Y} have together?")
  end, last = true },
  { "difference", function(p)
    other(p)
    return step(p, "-", term(p), "{Y} has {b} {t}.", "{X} has {=} more {t} than {Y}.",
      "How many more {t} does {X} have than {Y}?")
  end, last = true },
  { "days", function(p)
    return step(p, "/", divisor(p.v), "{X} uses {b} {t} a day.", "The {t} last {=} days.",
      "For how many days do the {t} last?")
  end, last = true },
}

-- Dollars that {X} has.
kinds.money = {
  { "earn", function(p)
    return step(p, "+", term(p), pick { "{X} earns ${b} more.", "{X} finds ${b} more." },
      "{X} now has {=}.", dollars_now)
  end },
  { "spend", function(p)
    return step(p, "-", term(p), "{X} spends ${b} on " .. pick(buys) .. ".", "{X} has {=} left.",
      dollars_left)
  end },
  { "half of it", function(p)
    other(p)
    return step(p, "/", 2, "{X} gives half of the money to {Y}.", "{X} has {=} left.", dollars_left)
  end },
  { "richer", function(p)
    other(p)
    return turn(p, step(p, "*", factor(p, p.v), "{Y} has {b} times as much money as {X}.",
      "{Y} has {=}.", "How many dollars does {Y} have?"))
  end },
  { "split", function(p)
    other(p)
    return turn(p, step(p, "/", divisor(p.v),
      "{X} shares the money equally among {b} friends, and {Y} is one of them.", "{Y} gets {=}.",
      "How many dollars does {Y} get?"))
  end },
  { "weeks", function(p)
    return step(p, "*", factor(p, p.v), "{X} saves this amount every week for {b} weeks.",
      "{X} saves {=} in all.", "How many dollars does {X} save in all?")
  end },
  { "buy", function(p)
    local good, dollars = pick(goods), p.dollars
    p.thing, p.dollars = good, nil
    local taken = step(p, "/", divisor(p.v),
      "{X} uses all the money to buy {t} that cost ${b} each.", "{X} buys {=} {t}.",
      "How many {t} does {X} buy?")
    if taken then p.about = "things" else p.dollars = dollars end
    return taken
  end },
  { "wish", function(p)
    local gap = term(p)
    local price = p.v + gap
    if price > most(p) then return false end
    p.says[#p.says + 1] = fill("{X} wants a " .. pick(wishes) .. " that costs ${b}.", p, price)
    p.lines[#p.lines + 1] = fill("{X} needs {=} more.", p, price,
      worked(price, "-", p.v, gap, p.dollars))
    p.ask = fill("How many more dollars does {X} need?", p)
    p.numbers[#p.numbers + 1] = price
    p.v = gap
    return true
  end, last = true },
}

-- Kilometres that {X} goes.
kinds.way = {
  { "farther", function(p)
    return step(p, "+", term(p), "Then {X} goes {b} km more.", "{X} goes {=} km in all.",
      "How many km does {X} go in all?")
  end },
  { "shorter", function(p)
    other(p)
    return turn(p, step(p, "-", term(p), "{Y} goes {b} km less than {X}.", "{Y} goes {=} km.",
      "How many km does {Y} go?"))
  end },
  { "as far", function(p)
    other(p)
    return turn(p, step(p, "*", factor(p, p.v), "{Y} goes {b} times as far as {X}.",
      "{Y} goes {=} km.", "How many km does {Y} go?"))
  end },
  { "half the way", function(p)
    other(p)
    return turn(p, step(p, "/", 2, "{Y} goes half as far as {X}.", "{Y} goes {=} km.",
      "How many km does {Y} go?"))
  end },
  { "hours", function(p)
    other(p)
    return step(p, "/", divisor(p.v), "{Y} goes just as far, at {b} km an hour.",
      "{Y} needs {=} hours.", "How many hours does {Y} need?")
  end, last = true },
}

-- Minutes that {X} needs.
kinds.time = {
  { "longer", function(p)
    return step(p, "+", term(p), "Then {X} rests for {b} minutes.", "That makes {=} minutes.",
      "How many minutes does this take {X} in all?")
  end },
  { "faster", function(p)
    other(p)
    return turn(p, step(p, "-", term(p), "{Y} needs {b} minutes less than {X}.",
      "{Y} needs {=} minutes.", "How many minutes does {Y} need?"))
  end },
  { "as long", function(p)
    other(p)
    return turn(p, step(p, "*", factor(p, p.v), "{Y} needs {b} times as long as {X}.",
      "{Y} needs {=} minutes.", "How many minutes does {Y} need?"))
  end },
  { "half as long", function(p)
    other(p)
    return turn(p, step(p, "/", 2, "{Y} needs half as long as {X}.", "{Y} needs {=} minutes.",
      "How many minutes does {Y} need?"))
  end },
}

-- ---- how a problem begins: with what is there (the first two), or with a product, a step ----

local function begin(p, about, a)
  p.about, p.v = about, a
  p.numbers[#p.numbers + 1] = a
end

local function one_factor(p)
  return from_to(2, p.large and 20 or 10)
end

local begins = {
  { "has", function(p)
    begin(p, "things", p.large and from_to(21, 100) or from_to(4, 30))
    p.says[1] = fill("{X} has {b} {t}.", p, p.v)
    return true
  end },
  { "owns", function(p)
    begin(p, "money", p.large and from_to(21, 100) or from_to(4, 30))
    p.dollars = "$"
    p.says[1] = fill("{X} has ${b}.", p, p.v)
    return true
  end },
  { "boxes", function(p)
    begin(p, "things", one_factor(p))
    local holder = pick(holders)
    return step(p, "*", factor(p, p.v), "{X} has {b} " .. holder[2] .. " with " .. p.v
      .. " {t} in each " .. holder[1] .. ".", "{X} has {=} {t}.", "How many {t} does {X} have?")
  end },
  { "daily", function(p)
    begin(p, "things", one_factor(p))
    return step(p, "*", factor(p, p.v), "{X} collects " .. p.v .. " {t} a day for {b} days.",
      "{X} collects {=} {t}.", "How many {t} does {X} collect?")
  end },
  { "wage", function(p)
    begin(p, "money", one_factor(p))
    p.dollars = "$"
    return step(p, "*", factor(p, p.v), "{X} earns $" .. p.v .. " an hour and works for {b} hours.",
      "{X} earns {=}.", "How many dollars does {X} earn?")
  end },
  { "speed", function(p)
    begin(p, "way", one_factor(p))
    return step(p, "*", factor(p, p.v),
      "{X} rides a bike for {b} hours, at " .. p.v .. " km an hour.", "{X} goes {=} km.",
      "How many km does {X} go?")
  end },
  { "pieces", function(p)
    begin(p, "time", one_factor(p))
    local job = pick(jobs)
    return step(p, "*", factor(p, p.v), "{X} " .. job[2] .. " {b} " .. job[1] .. "s and needs "
      .. p.v .. " minutes for each " .. job[1] .. ".", "{X} needs {=} minutes.",
      "How many minutes does {X} need?")
  end },
}

-- ---- sentences with a number that does not matter ----

local function distract(p)
  local name, thing = pick(names), pick(things)
  while thing == p.thing do thing = pick(things) end
  local text = pick {
    "{X} is {b} years old.", "{Y} lives in a house with {b} windows.",
    "There are {b} people in the room.", "It is {b} degrees outside.",
    "{Y} has a cat that is {b} months old.", "There are {b} chairs at the table.",
    "{Y} has {b} " .. thing[2] .. " at home.",
  }
  local who = { who = p.first, second = name, thing = thing }
  return fill(text, who, from_to(2, p.large and 60 or 20))
end

-- ---- problems ----

-- One problem, or nil where chance led to numbers that fit no step.
local function problem(steps, distractors, large)
  local p = { large = large, who = pick(names), thing = pick(things), says = {}, lines = {},
    numbers = {} }
  p.first = p.who
  p.met = { [p.who] = true }
  local used = {}
  local start = begins[below(2) == 0 and 1 + below(2) or 1 + below(#begins)]
  if not start[2](p) then return nil end
  used[1] = start[1]
  local tries = 0
  while #p.lines < steps do
    tries = tries + 1
    if tries > 40 then return nil end
    local kind = pick(kinds[p.about])
    local wanted = (not kind.last or #p.lines + 1 == steps) and kind[1] ~= used[#used]
    if wanted and kind[2](p) then used[#used + 1] = kind[1] end
  end
  if #p.lines ~= steps then return nil end
  for _ = 1, distractors do
    table.insert(p.says, below(2) == 0 and 1 or #p.says + 1, distract(p))
  end
  p.kinds = used
  p.key = table.concat(used, ",") .. ":" .. table.concat(p.numbers, ",")
  return p
end

-- FNV-1a, mixed: is the key's problem one of the test set?
local function is_test(key)
  local h = 0xCBF29CE484222325
  for i = 1, #key do
    h = (h ~ string.byte(key, i)) * 0x100000001B3
  end
  return (mix(h) & 7) == 0
end

local function items(split, count)
  local list, seen = {}, {}
  local test = split == "test"
  for d = 0, count - 1 do
    state = mix(seed + (test and 1 or 0)) + mix(d)
    local steps, distractors, large = 1 + d % 4, d // 4 % 2, d // 8 % 5 // 4
    local p
    repeat
      p = problem(steps, distractors, large == 1)
    until p and is_test(p.key) == test and not seen[p.key]
    if test then seen[p.key] = true end
    list[d + 1] = {
      question = table.concat(p.says, " ") .. " " .. p.ask,
      answer = table.concat(p.lines, "\n") .. "\n#### " .. p.v,
      steps = steps, distractors = distractors, large = large,
      difficulty = steps + distractors + large, kinds = p.kinds,
    }
  end
  return list
end

-- ---- the task ----

local question = "Question: {question}\nAnswer:"
local normalise = { { ",", "" }, { "(?s).*#### ", "" } }

return {
  name    = "wordmath",
  about   = "generated word problems of one to four steps; document d has 1 + d % 4",
  license = "MIT",
  source  = "this file",
  generated = { test = 1000, train = 20000, items = items },
  train   = { prompt = question, completion = " {answer}" },
  forms   = {
    nll = {
      version = 1,
      about   = "loss of the whole worked answer; no shots",
      prompt  = question,
      target  = " {answer}",
    },
    ["0shot"] = {
      version = 1,
      about   = "the number behind \"#### \"; no shots, greedy",
      prompt  = question,
      generate = { max_tokens = 160, stop = { "Question:" }, stop_at_end_text = true },
      measures = {
        {
          "exact", name = "strict_match",
          find = "#### (-?[0-9,]+)", take = "first",
          reference = "{answer}", normalise = normalise,
          golden = {
            { output = " Anna has 5 + 7 = <<5+7=12>>12 apples.\n#### 12", found = "12" },
            { output = "#### 12\nQuestion: ...\n#### 13", found = "12" },
            { output = "#### 1,200", found = "1,200" },
            { output = "Anna has 12 apples." },
            { output = "####12" },
          },
        },
        {
          "exact", name = "last_number",
          find = "-?[0-9][0-9,]*", take = "last",
          reference = "{answer}", normalise = normalise,
          golden = {
            { output = "Anna has 5 + 7 = 12 apples.", found = "12" },
            { output = "#### 7\nor 1,200.", found = "1,200" },
            { output = "none" },
          },
        },
      },
      self_test = {
        { output = " {answer}", score = 1 },
        { output = "", score = 0 },
      },
    },
  },
}
