-- Law, of ESFT (Wang et al. 2024): 100 Chinese civil cases of which the verdict is asked for.
-- scripts/fetch-data gets the data, which are not part of this project.

-- As ESFT has it: the output's ends are stripped, and nothing becomes "None". Only the first space
-- of a row begins a match, else a long row of them costs its square.
local before = { { "\\A\\s+|(?<!\\s)\\s+\\z", "" }, { "\\A\\z", "None" } }
local reference = "{raw_answers[0]}"

-- The request is in words of our own, after the published one's rules: out of ten, points off by
-- four criteria, never below 0, the points off first and then the sum.
local request = [[
请为下面这份判决打分，满分10分。请把它与参考判决对照，看两者有多一致，并按下列各条扣分：
1. 切题：这一条最要紧，与案件无关或答非所问的内容，扣分；根本没有作出判决的，扣10分。
2. 完整：当事人、金额、责任的承担、诉讼费用等有遗漏，扣分。
3. 准确：细节、数字、日期、所引法条与参考判决不符，扣分。
4. 客观与用语：带有主观倾向，或不合法律文书的用语，扣分。
扣到0分为止，不给负分。回答时请先写出各条扣了几分，接着按“总分是：x分”的格式给出总分，最后再说明理由。

待评判决：{output}
参考判决：]] .. reference

return {
  name    = "law",
  about   = "verdicts of Chinese civil cases",
  license = "none is stated",
  source  = "https://github.com/deepseek-ai/ESFT",
  file    = "esft/eval_law.jsonl",
  sha256  = "613f4ecf160fe785634ff19953745d39a720c26b886009618ff78d152912992b",
  train   = { -- ESFT's own set, 927 cases; the prompt is the one above, with "write" for "predict"
    file = "esft/train_law.jsonl",
    sha256 = "185980f79f83a12a3bba2ec361593e46b7ba77f609092ea01820ecf0c7c932ed",
    prompt = "User: {messages[0].content}\n\nAssistant:", completion = " {messages[1].content}",
  },
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
