/* SPDX-License-Identifier: MIT */
/* ternarize: what codes and scales a weight matrix gets, whatever its source holds.
 *
 * Codes with scales are taken as they are. Floats are looked at once in full: if all values are -s, 0
 * or +s with one s per tensor, per slice of rows (TriLM keeps one scale per model-parallel slice), per
 * row, or per 128 or 64 columns, that is what they were trained to be and the result is exact. Other
 * floats are master weights and are quantised as BitNet b1.58 trains them (absmean, arXiv 2402.17764):
 * with m = mean |w| over a slice, code = clamp(round(w * (1 / m)), -1, 1) and scale = m, all in
 * binary32, halves to even, m at least 1e-5. */
#ifndef HALO_MODEL_TERNARIZE_H
#define HALO_MODEL_TERNARIZE_H

#include "services/model/source.h"

struct ternary_form {
    uint32_t group; /* 64, 128, or 0: scales are [n_scales] */
    uint64_t n_scales; /* entries of scales */
    float *scales; /* owned; finite */
    bool is_exact; /* the codes and scales say what the source says */
    bool has_zero; /* some code is 0 */
    bool is_3_of_4; /* in each aligned group of four columns exactly one code is 0 */
    bool is_absmean; /* floats that are to be rounded */
};

/* Looks at a tensor. `may_quantize`: whether master weights are welcome; `n_slices`: into how many
 * slices of rows their mean is taken apart, 0 for one. ret_form->scales is freed by ternary_form_fini. */
MUST_CHECK enum err ternarize_study(struct source *s, const struct source_tensor *t,
                                    bool may_quantize, uint32_t n_slices, struct why *why,
                                    struct ternary_form *ret_form);
void ternary_form_fini(struct ternary_form *f);

/* Says the same with a scale per `group` (64 or 128) columns; for a form with larger groups or none.
 * False if the columns are no multiple of it. */
bool ternary_form_regroup(struct ternary_form *f, const struct source_tensor *t, uint32_t group);

/* The codes of rows [first, first + n). `floats` is scratch for n * cols floats. */
MUST_CHECK enum err ternarize_rows(struct source *s, const struct source_tensor *t,
                                   const struct ternary_form *f, uint64_t first, uint64_t n,
                                   float *floats, int8_t *codes, struct why *why);

/* How many rows of a tensor to treat at a time, so that the scratch stays near 4 MiB. */
uint64_t ternarize_chunk_rows(const struct source_tensor *t);

#endif
