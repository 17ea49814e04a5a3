/* SPDX-License-Identifier: MIT */
/* ppl_options: the options of halo-ppl, which `halo ppl` takes and passes on. One table for both, so
 * that they cannot differ. */
#ifndef HALO_COMMON_PPL_OPTIONS_H
#define HALO_COMMON_PPL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/opt.h"

struct ppl_options {
    const char *model;
    const char *bos;
    const char *isa;
    const char *kv_type;
    uint32_t window;
    uint32_t stride;
    uint32_t limit;
    uint32_t threads;
    uint32_t check_head;
    bool does_copy_weights;
    bool does_json;
    bool has_positions;
};

enum { PPL_DEFAULT_WINDOW = 2048 };

#define PPL_OPTION_ROWS                                                                            \
    OPT_STR_ROW(struct ppl_options, model, "model", NULL, "FILE",                                  \
                "model to measure, an .h1b file"),                                                 \
        OPT_U32_ROW(struct ppl_options, window, "window", "0", 0, 1U << 20, "N",                   \
                    "tokens that are computed together, the begin token included; 0: the model's " \
                    "context, at most 2048. A longer one gives the later tokens more context and " \
                    "a lower perplexity, so figures compare at one window only"),                  \
        OPT_U32_ROW(struct ppl_options, stride, "stride", "0", 0, 1U << 20, "N",                   \
                    "tokens by which the window moves on; 0: by all of it. With less, windows "    \
                    "overlap, and of each but the first only the last N tokens count"),            \
        OPT_CHOICE_ROW(struct ppl_options, bos, "bos", "auto", "auto|yes|no",                      \
                       "whether each window begins with the model's begin token; auto: if the "    \
                       "model says that prompts do"),                                              \
        OPT_U32_ROW(struct ppl_options, limit, "limit", "0", 0, UINT32_MAX, "N",                   \
                    "tokens of the text to use, the first ones; 0: all"),                          \
        OPT_CHOICE_ROW(struct ppl_options, kv_type, "kv-type", "f16", "f16|int8",                  \
                       "numbers in the KV cache, as halo-engine keeps them"),                      \
        OPT_CHOICE_ROW(struct ppl_options, isa, "isa", "auto",                                     \
                       "auto|ref|avx2|avxvnni|avx512|neon",                                        \
                       "instruction set of the kernels; the result is the same"),                  \
        OPT_U32_ROW(struct ppl_options, threads, "threads", "0", 0, 256, "N",                      \
                    "threads that compute; 0: one per processor, at most 4"),                      \
        OPT_BOOL_ROW(struct ppl_options, does_copy_weights, "copy-weights", "false",               \
                     "copy the weights into huge pages first, as halo-engine does"),               \
        OPT_U32_ROW(                                                                               \
            struct ppl_options, check_head, "check-head", "0", 0, 256, "K",                        \
            "also compute each position with the fast head, and compare the K largest logits "     \
            "with those of the full head, bit for bit, and the tokens drawn; 0: do not. Exit "     \
            "status 1 if any differ"),                                                             \
        OPT_BOOL_ROW(struct ppl_options, has_positions, "positions", "false",                      \
                     "also print the mean by position in the window, and whether it drifts up"),   \
        OPT_BOOL_ROW(struct ppl_options, does_json, "json", "false", "print one JSON object")

#endif
