/* SPDX-License-Identifier: MIT */
/* fast_head: the largest logits with the bits of the full head, for 40 % of its bytes or less.
 *
 * Beside the f16 head stands a copy in 8 bits that is read plane by plane (kernels/planes). Four bits
 * of all rows bound each logit from both sides. With L the n-th largest lower bound, a row whose
 * upper bound is below L is below n others: it is given up. Of the rows still in question two more bits are
 * read, then one more, then the last, and L rises each time; what is left, a few dozen rows as a rule, is
 * computed from the f16 head by the usual kernel. In the worst case (all rows nearly equal) that is all of
 * them, one and a half times the cost of the full head.
 *
 * Penalties and the noise of a draw (backend.h) are monotone in the logit, also as rounded: applied to the
 * bounds they give bounds of what is compared, and so a draw at temperature 1 costs as much as the
 * largest logit.
 *
 * With top_p there is more to know than which is largest: how much of the mass lies above it (pick.h). First
 * comes a draw like others; then rows above what was drawn get closer bounds, until it is certain that
 * it is kept, or not.
 *
 * So of the f16 head few rows are needed in memory: if it lies in the model file's mapping, its pages are
 * let go after packing, and by cpu_graph after some rows more.
 *
 * Bytes of the head that a greedy token reads, and decode on two threads of an AMD EPYC (Zen 5, AVX-512;
 * halo-bench --pp 0 --tg 64 and 128, medians of one quiet day, by turns): one plane of 8 bits for all rows,
 * which was before, and these planes.
 *   2b4t, random weights (the worst case for bounds)  330 -> 251 MB   53.3 -> 53.7 tokens/s
 *   demo (all of it in cache, so arithmetic counts)   6.4 -> 3.4 MB   5,150 -> 4,740 tokens/s
 *   full f16 head                                     657 MB; demo 3,850 tokens/s
 * Planes of 4, 2 and 2 bits would read 273 MB (counted), more than a Q6_K head's 269.
 *
 * Called by the backend's thread; the work is shared among the pool. */
#ifndef HALO_ENGINE_FAST_HEAD_H
#define HALO_ENGINE_FAST_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "kernels/kernels.h"
#include "services/engine/backend.h"
#include "services/engine/model.h"
#include "services/engine/pool.h"

enum { FAST_HEAD_MAX_TOP = 256 };

struct fast_head;

/* Makes the copy. ERR_NOMEM if it does not fit into memory; ERR_RANGE if the rows are too long. */
MUST_CHECK enum err fast_head_new(const struct model *m, const struct kernels *k, struct pool *pool,
                                  uint32_t max_tokens, struct fast_head **ret_head);
void fast_head_free(struct fast_head *f);

/* Whether fast_head_run can give this. */
bool fast_head_can(const struct backend_want *want);

/* For n_tokens hidden vectors h[n_tokens][hidden]: ret_got[i] are logits of the full head, those that
 * wants[i] asks for among them, in memory of logits[i][vocab] and of f's own. Of WANT_PICK it may be
 * none, with values NULL: then bounds do not decide it. False, and nothing is given, if no bounds hold
 * for one of the vectors. */
bool fast_head_run(struct fast_head *f, const float *h, const struct backend_want *wants,
                   uint32_t n_tokens, float *logits, struct backend_logits *ret_got);

/* Memory for logits[max_tokens][vocab], until the next run. */
float *fast_head_spare(struct fast_head *f);

/* Whether `got` is what may be given for a full head's logits; `want` has no changes and is not
 * WANT_PICK. */
bool fast_head_agrees(const float *full, const struct backend_logits *got, uint32_t n_vocab,
                      const struct backend_want *want);

/* Rows computed from the full head so far. */
uint64_t fast_head_n_rescored(const struct fast_head *f);

/* Bytes read so far: of the copy, and of the full head. */
uint64_t fast_head_bytes_read(const struct fast_head *f);

#endif
