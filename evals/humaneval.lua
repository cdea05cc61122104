-- HumanEval: 164 Python functions to be written from their signature and docstring (Chen et al.
-- 2021), each with tests. scripts/fetch-data gets the data, which are not part of this project.
return {
  name    = "humaneval",
  about   = "Python functions from signature and docstring, run against their tests",
  license = "MIT",
  source  = "https://github.com/openai/human-eval",
  file    = "humaneval/HumanEval.jsonl.gz",
  sha256  = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
  forms   = {
    nll = {
      version = 1,
      about   = "loss of the canonical solution",
      prompt  = "{prompt}",
      target  = "{canonical_solution}",
    },
    lmeval = {
      version = 2,
      about   = "lm-evaluation-harness humaneval 1.0, stops as Codex: no shots, greedy, pass@1",
      prompt  = "{prompt}",
      generate = {
        max_tokens = 1024, stop = { "\nclass", "\ndef", "\n#", "\nif", "\nprint" },
        stop_at_end_text = true,
      },
      long_prompt = "cut",
      measures = {
        {
          "program", name = "pass@1",
          program = "{prompt}{output}\n{test}\ncheck({entry_point})",
          milliseconds = 3000,
        },
      },
      self_test = {
        { output = "{canonical_solution}", score = 1 },
        { output = "", score = 0 },
      },
    },
  },
}
