-- MBPP: small Python tasks with three asserts each (Austin et al. 2021). The test set is the tasks
-- 11 to 510; 2, 3 and 4 are the shots. Lines of the reference code end as Windows ends them, and
-- stay so. scripts/fetch-data gets the data, which are not part of this project.

local query = "You are an expert Python programmer, and here is your task: {text} Your code should "
  .. "pass these tests:\n\n{test_list[0]}\n{test_list[1]}\n{test_list[2]}\n[BEGIN]\n"

return {
  name    = "mbpp",
  about   = "small Python tasks with three asserts each; tasks 11 to 510",
  license = "CC-BY-4.0",
  source  = "https://github.com/google-research/google-research/tree/master/mbpp",
  file    = "mbpp/mbpp.jsonl",
  sha256  = "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
  rows    = { field = "task_id", from = 11, to = 510 },
  train   = { -- the training part of its authors; what follows the prompt as in a shot
    file = "mbpp/mbpp.jsonl",
    sha256 = "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
    rows = { field = "task_id", from = 601, to = 974 },
    prompt = query, completion = "{code}\n[DONE]",
  },
  forms   = {
    nll = {
      version = 1,
      about   = "loss of the reference code; no shots",
      prompt  = query,
      target  = "{code}",
    },
    ["lmeval-3shot"] = {
      version = 2,
      about   = "lm-evaluation-harness mbpp 1.0: 3 fixed shots, greedy, pass@1",
      prompt  = query,
      shots   = {
        file = "mbpp/mbpp.jsonl",
        sha256 = "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
        rows = { field = "task_id", from = 2, to = 4 },
        count = 3, draw = "first",
        text = query .. "{code}\n[DONE]\n\n",
      },
      generate = { max_tokens = 256, stop = { "[DONE]" }, stop_at_end_text = true },
      long_prompt = "cut",
      measures = {
        {
          -- The file's test_setup_code and challenge tests are not run.
          "program", name = "pass@1",
          program = "{output}\n{test_list[0]}\n{test_list[1]}\n{test_list[2]}",
          milliseconds = 3000,
        },
      },
      self_test = {
        -- Task 123 computes for about three seconds; 367 needs a class of its test_setup_code.
        { output = "{code}", score = 1, except = { 112, 356 } },
        { output = "", score = 0 },
      },
    },
  },
}
