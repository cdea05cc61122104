-- Summary, of ESFT (Wang et al. 2024): 100 telephone calls of a customer service, in Chinese, to be
-- summed up. scripts/fetch-data gets the data, which are not part of this project.

-- As ESFT has it: the output's ends are stripped, and nothing becomes "None". Only the first space
-- of a row begins a match, else a long row of them costs its square.
local before = { { "\\A\\s+|(?<!\\s)\\s+\\z", "" }, { "\\A\\z", "None" } }
local reference = "{raw_answers[0]}"

-- The request is in words of our own, after the published one's rules: out of ten, points off by
-- four criteria, never below 0, the points off first and then the sum.
local request = [[
请为下面这份通话小结打分，满分10分。请把它与参考小结对照，看两者有多一致，并按下列各条扣分：
1. 内容准确：与参考小结不符、或参考小结中没有根据的内容，扣分。
2. 详细完整：参考小结中的要点或细节有遗漏，扣分。
3. 简洁与文风：重复、啰嗦，或不像一份通话小结，扣分。
4. 后续处理：后续该怎样处理写错了或没有写，扣分。
扣到0分为止，不给负分。回答时请先写出各条扣了几分，接着按“总分是：x分”的格式给出总分，最后再说明理由。

待评小结：{output}
参考小结：]] .. reference

return {
  name    = "summary",
  about   = "telephone calls of a customer service summed up, in Chinese",
  license = "none is stated",
  source  = "https://github.com/deepseek-ai/ESFT",
  file    = "esft/eval_summary.jsonl",
  sha256  = "c03812f89e9154c8395b85aadb858b573319088b44ef1083c789981bb4ffd7bb",
  forms   = {
    nll = {
      version = 1,
      about   = "loss of the first reference",
      prompt  = "{prompt}",
      target  = " " .. reference,
    },
    esft = {
      version = 1,
      about   = "as ESFT: greedy, 512 tokens; ROUGE-L of characters, chrF, and a judge out of 10",
      prompt  = "{prompt}",
      generate = { max_tokens = 512 },
      measures = {
        { "rouge_l", before = before, reference = reference, characters = true },
        { "chrf", before = before, reference = reference },
        {
          "judge", before = before,
          system = "You are a helpful assistant. Follow the instructions with care and answer in "
            .. "Markdown.",
          user = request,
          parse = "总分是：(\\d+\\.\\d+|\\d+)分", out_of = 10, max_tokens = 80,
        },
      },
    },
  },
}
