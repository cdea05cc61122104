/*
 * source.h: the decoder's TorchScript, as it stands in the .torchscript files beside this one.
 */
#ifndef MODELS_SOURCE_H
#define MODELS_SOURCE_H

extern const char source_decoder[], source_ends[], source_olmoe[], source_qwen2_moe[],
    source_mixtral[], source_qwen3_moe[];

#endif
