-- GSM8K: word problems of primary school with worked answers (Cobbe et al. 2021), 1319 in the test
-- set. scripts/fetch-data gets the data, which are not part of this project.

local question = "Question: {question}\nAnswer:"
-- As DenseMixer asks, and trains.
local following = "Answer the following question.\n\n" .. question

-- What lm-evaluation-harness does to both sides before it compares them: nothing numeric, so
-- "18.00" is not "18".
local normalise = { { ",", "" }, { "\\$", "" }, { "(?s).*#### ", "" }, { "\\.$", "" } }

-- The last thing that looks like a number, dots and dollars included.
local flexible = {
  "exact", name = "flexible_extract",
  find = "(-?[$0-9.,]{2,})|(-?[0-9]+)", take = "last", strip = true,
  reference = "{answer}", normalise = normalise, ignore_case = true,
  golden = {
    { output = "#### $18", found = "$18" },
    { output = "#### 5 .. #### 6", found = "6" },
    { output = "and so on ...", found = "..." },
    { output = "3-5", found = "-5" },
    { output = "total 1,000,000!", found = "1,000,000" },
    { output = "2.5.", found = "2.5." },
    { output = "none" },
  },
}

return {
  name    = "gsm8k",
  about   = "word problems with worked answers; the test set",
  license = "MIT",
  source  = "https://github.com/openai/grade-school-math",
  file    = "gsm8k/test.jsonl",
  sha256  = "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
  train   = { -- 7473 problems
    file = "gsm8k/train.jsonl",
    sha256 = "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    prompt = following, completion = " {answer}",
  },
  forms   = {
    nll = {
      version = 1,
      about   = "loss of the whole reference answer, working and \"#### n\" included; no shots",
      prompt  = question,
      target  = " {answer}",
    },
    ["lmeval-5shot"] = {
      version = 2,
      about   = "lm-evaluation-harness gsm8k 3.0: 5 shots drawn for each problem, greedy",
      prompt  = question,
      shots   = {
        file = "gsm8k/train.jsonl",
        sha256 = "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
        count = 5, draw = "python", seed = 1234,
        text = "Question: {question}\nAnswer: {answer}\n\n",
      },
      generate = {
        max_tokens = 256, stop = { "Question:", "</s>", "<|im_end|>" }, stop_at_end_text = true,
      },
      long_prompt = "cut",
      measures = {
        {
          "exact", name = "strict_match",
          find = "#### (-?[0-9.,]+)", take = "first",
          reference = "{answer}", normalise = normalise, ignore_case = true,
          golden = {
            { output = "#### $18" },
            { output = "#### 5 .. #### 6", found = "5" },
            { output = "so it is 18" },
          },
        },
        flexible,
      },
    },
    ["lmeval-cot-8shot"] = {
      version = 2,
      about   = "lm-evaluation-harness gsm8k_cot 3.0: 8 fixed chain-of-thought shots, greedy",
      prompt  = "Q: {question}\nA:",
      shots   = {
        file = "gsm8k/cot.jsonl",
        sha256 = "834e15ff15ab7058dfb6d1d928a6263a3637cfbf9a2f9240eea3753c2e3463c6",
        count = 8, draw = "first",
        text = "Q: {question}\nA: {target}\n\n",
      },
      generate = {
        max_tokens = 256, stop = { "Q:", "</s>", "<|im_end|>" }, stop_at_end_text = true,
      },
      long_prompt = "cut",
      measures = {
        {
          -- The last dot is unescaped in the protocol: it takes any character but a line's end.
          "exact", name = "strict_match",
          find = "The answer is (-?[0-9.,]+).", take = "first",
          reference = "{answer}", normalise = normalise, ignore_case = true,
          golden = {
            { output = "The answer is 18.", found = "18" },
            { output = "The answer is 18", found = "1" },
            { output = "The answer is 18\nmore", found = "1" },
            { output = "The answer is 8" },
          },
        },
        flexible,
      },
    },
    ["densemixer-0shot"] = {
      version = 2,
      about   = "as DenseMixer scores it: no shots, last number, marks ignored (18.0 is 180), greedy",
      prompt  = following,
      generate = {
        max_tokens = 512,
        stop = { "Answer the following question", "Question:", "Comment:" },
      },
      measures = {
        {
          "exact", name = "exact_match",
          before = { { "(\\d),(\\d)", "$1$2" } },
          find = "[-+]?\\d*\\.\\d+|\\d+", take = "last", otherwise = "whole",
          reference = "{answer}",
          -- All of ASCII's punctuation goes, on both sides.
          normalise = { { "(?s).*#### ", "" }, { "[!-/:-@\\[-`{-~]", "" } },
          ignore_case = true,
          golden = {
            { output = "It costs 1,000 in all: 18.0", found = "18.0" },
            { output = "1,000", found = "1000" },
            { output = "-5", found = "5" },
            { output = "-.5", found = "-.5" },
            { output = "I do not know", found = "I do not know" },
          },
        },
      },
    },
  },
}
