-- GSM8K: word problems of primary school with worked answers (Cobbe et al. 2021), 1319 in the test
-- set. The data are not part of this project: put test.jsonl of the data set's home under
-- SEQTOPK_DATA/gsm8k.
return {
  name    = "gsm8k",
  about   = "word problems with worked answers; the test set",
  license = "MIT",
  source  = "https://github.com/openai/grade-school-math",
  file    = "gsm8k/test.jsonl",
  forms   = {
    -- The loss of the whole reference answer, working and "#### n" line included, without shots.
    nll = { version = 1, prompt = "Question: {question}\nAnswer:", target = " {answer}" },
  },
}
