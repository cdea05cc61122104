-- CodeAlpaca (Chaudhary 2023): instructions that ask for code, answered by a large language
-- model. A training set for the tasks that are code; it has no documents to be scored.
-- scripts/fetch-data gets the data, which are not part of this project. Where a line has no input,
-- its place in the prompt is an empty line.
return {
  name    = "codealpaca",
  about   = "instructions that ask for code, to be trained on",
  license = "Apache-2.0",
  source  = "https://github.com/sahil280114/codealpaca",
  train   = { -- 4535 instructions
    file = "codealpaca/new_codealpaca.json",
    sha256 = "2c8f4bb2dbce75ecc2020ded30f0fa935b7aa89d7be0c271f4ac208062f1bcb6",
    prompt = "Instruction: {instruction}\n{input}\nAnswer:\n", completion = "{output}",
  },
}
