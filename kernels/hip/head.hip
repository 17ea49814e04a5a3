/* SPDX-License-Identifier: MIT */
/* head_N: logits from the f16 matrix with the bits of kernels/head, for one token or by fours.
 *
 * The 32 chains of a row lie in four lanes, eight each: chains 8 j .. 8 j + 7 are columns that follow each other,
 * 16 bytes a load, 64 of the four. The partial sums are added by two exchanges and within the lane.
 * Given bounds (bounds.hip), rows that cannot be among the largest are left out. Else the bytes (2B-4T) are
 * 657 MB a token: 153 us at an H200's 4.3 TB/s, 2.6 ms at 256 GB/s, which binds there (8 conversions and 8 fma
 * for 16 bytes: 1.5 instructions a byte, of 7.4 T/s).
 * For several tokens head_ask lists what the bounds leave, and head_pairs computes just that. */
#include "kernels/hip/noise.h"

enum {
    HEAD_THREADS = 256,
    HEAD_LANES = 4,
    HEAD_ROWS = HEAD_THREADS / HEAD_LANES,
    HEAD_CHAINS = 8,
    HEAD_AHEAD = 4, /* loads of weights before the first is used */
};

/* p[t] += eight columns of a row times those of n tokens at h. */
DEVICE void head_chunk(const struct quad *eight, const float *h, uint32_t stride, int n,
                       float (*p)[HEAD_CHAINS])
{
    float f[HEAD_CHAINS];
    UNROLL for (int i = 0; i < HEAD_CHAINS; i++)
    {
        f[i] = f32_of_f16((uint16_t)(eight->w[i / 2] >> i % 2 * 16));
    }
    UNROLL for (int t = 0; t < n; t++)
    {
        const float *x = h + (size_t)t * stride;
        UNROLL for (int i = 0; i < HEAD_CHAINS; i++)
        {
            p[t][i] = fma_f32(f[i], x[i], p[t][i]);
        }
    }
}

/* Whether the logit of row r is to be computed for a token: it can be among the n_top largest. */
DEVICE bool is_in_question(const struct hip_head_args *a, uint32_t token, uint32_t r)
{
    if (a->upper == NULL) {
        return true;
    }
    const struct hip_wanted *w = &a->wanted[token];
    const struct hip_top least = a->least[(size_t)token * a->top + (w->n_top - 1)];
    float upper = a->upper[(size_t)token * a->n_vocab + r];
    return !(compared(w, upper, r) < compared(w, least.logit, least.id));
}

DEVICE void head_rows(const struct hip_head_args *a, int n_tokens)
{
    wait_previous();
    launch_next();
    uint32_t first = block_y() * (uint32_t)n_tokens;
    uint32_t n_wanted = a->step->n_wanted;
    if (first >= n_wanted) {
        return;
    }
    uint32_t lane = thread_id() % HEAD_LANES;
    uint32_t r = block_x() * HEAD_ROWS + thread_id() / HEAD_LANES;
    float p[4][HEAD_CHAINS] = {{0}};
    bool is_asked = false;
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        if (r < a->n_vocab && first + (uint32_t)t < n_wanted && !is_asked) {
            is_asked = is_in_question(a, first + (uint32_t)t, r);
        }
    }
    if (is_asked) {
        const struct quad *w = (const struct quad *)(const void *)(a->head + (size_t)r * a->n);
        const float *h = a->h + (size_t)first * a->n;
        uint32_t n_chunks = a->n / HEAD_CHAINS;
        uint32_t c = lane;
        for (; c + (HEAD_AHEAD - 1) * HEAD_LANES < n_chunks; c += HEAD_AHEAD * HEAD_LANES) {
            struct quad eight[HEAD_AHEAD];
            UNROLL for (uint32_t i = 0; i < HEAD_AHEAD; i++)
            {
                eight[i] = w[c + i * HEAD_LANES];
            }
            UNROLL for (uint32_t i = 0; i < HEAD_AHEAD; i++)
            {
                head_chunk(&eight[i], h + (c + i * HEAD_LANES) * HEAD_CHAINS, a->n, n_tokens, p);
            }
        }
        for (; c < n_chunks; c += HEAD_LANES) {
            const struct quad eight = w[c];
            head_chunk(&eight, h + c * HEAD_CHAINS, a->n, n_tokens, p);
        }
    }
    UNROLL for (int t = 0; t < n_tokens; t++)
    {
        UNROLL for (int i = 0; i < HEAD_CHAINS; i++)
        {
            p[t][i] += lane_xor_f32(p[t][i], 2);
            p[t][i] += lane_xor_f32(p[t][i], 1);
        }
        UNROLL for (int d = 4; d > 0; d /= 2)
        {
            UNROLL for (int i = 0; i < d; i++)
            {
                p[t][i] += p[t][i + d];
            }
        }
        if (lane == 0 && r < a->n_vocab && first + (uint32_t)t < n_wanted) {
            a->logits[((size_t)first + (size_t)t) * a->n_vocab + r] =
                is_asked ? p[t][0] : f32_of_bits(0xff800000);
        }
    }
}

KERNEL(head_1, head, HEAD_THREADS)
{
    head_rows(&a, 1);
}

KERNEL(head_4, head, HEAD_THREADS)
{
    head_rows(&a, 4);
}

/* ---- of those in question ---- */

enum { ASK_ROWS = HEAD_THREADS, ASK_TOKENS = 32 };

/* Which logits are in question: -inf for the others, a place in the list for these. A thread has a row of the head
 * and up to 32 tokens, so that the tokens of a row follow each other in the list. */
KERNEL(head_ask, head, HEAD_THREADS)
{
    wait_previous();
    launch_next();
    uint32_t first = block_y() * ASK_TOKENS;
    uint32_t n_wanted = a.step->n_wanted;
    if (first >= n_wanted) {
        return;
    }
    uint32_t *count = (uint32_t *)SHARED_MEMORY; /* the block's, then its place in the list */
    float *least = (float *)(void *)(count + 1);
    uint32_t n_tokens = least_u32(n_wanted - first, ASK_TOKENS);
    if (thread_id() < n_tokens) {
        const struct hip_wanted *w = &a.wanted[first + thread_id()];
        const struct hip_top *top = &a.least[(size_t)(first + thread_id()) * a.top];
        const struct hip_top last = top[w->n_top - 1];
        least[thread_id()] = compared(w, last.logit, last.id);
    }
    if (thread_id() == 0) {
        *count = 0;
    }
    barrier();
    uint32_t r = block_x() * ASK_ROWS + thread_id();
    uint32_t asked = 0; /* a bit a token */
    uint32_t n_asked = 0;
    size_t at = (size_t)first * a.n_vocab + r;
    for (uint32_t t = 0; r < a.n_vocab && t < n_tokens; t++) {
        float upper = a.upper[at + (size_t)t * a.n_vocab];
        if (compared(&a.wanted[first + t], upper, r) < least[t]) {
            a.logits[at + (size_t)t * a.n_vocab] = f32_of_bits(0xff800000);
        } else {
            asked |= 1U << t;
            n_asked++;
        }
    }
    uint32_t place = n_asked > 0 ? take_shared(count, n_asked) : 0;
    barrier();
    if (thread_id() == 0 && *count > 0) {
        *count = add_global(a.n_pairs, *count);
    }
    barrier();
    uint32_t *to = a.pairs + *count + place;
    for (uint32_t t = 0; asked != 0; t++, asked >>= 1) {
        if (asked & 1) {
            *to++ = (uint32_t)at + t * a.n_vocab;
        }
    }
}

enum { PAIR_LANES = 8, PAIR_CHAINS = 32 / PAIR_LANES, PAIR_AHEAD = 8 };

struct four_halves {
    uint16_t h[PAIR_CHAINS];
} __attribute__((aligned(8)));

struct four_floats {
    float f[PAIR_CHAINS];
} __attribute__((aligned(16)));

/* The listed logits: eight lanes each, of which each has four chains. */
KERNEL(head_pairs, head, HEAD_THREADS)
{
    wait_previous();
    launch_next();
    uint32_t n_pairs = *a.n_pairs;
    uint32_t lane = thread_id() % PAIR_LANES;
    uint32_t n_each = HEAD_THREADS / PAIR_LANES;
    for (uint32_t base = block_x() * n_each; base < n_pairs; base += a.n_blocks * n_each) {
        uint32_t i = base + thread_id() / PAIR_LANES;
        uint32_t at = a.pairs[least_u32(i, n_pairs - 1)];
        uint32_t token = at / a.n_vocab;
        const uint16_t *w = a.head + (size_t)(at - token * a.n_vocab) * a.n + lane * PAIR_CHAINS;
        const float *h = a.h + (size_t)token * a.n + lane * PAIR_CHAINS;
        float p[PAIR_CHAINS] = {0};
        uint32_t c = 0;
        for (; c + (PAIR_AHEAD - 1) * 32 + lane * PAIR_CHAINS < a.n; c += PAIR_AHEAD * 32) {
            struct four_halves weights[PAIR_AHEAD];
            struct four_floats x[PAIR_AHEAD];
            UNROLL for (uint32_t k = 0; k < PAIR_AHEAD; k++)
            {
                weights[k] = *(const struct four_halves *)(const void *)(w + c + 32 * k);
                x[k] = *(const struct four_floats *)(const void *)(h + c + 32 * k);
            }
            UNROLL for (uint32_t k = 0; k < PAIR_AHEAD; k++)
            {
                UNROLL for (uint32_t j = 0; j < PAIR_CHAINS; j++)
                {
                    p[j] = fma_f32(f32_of_f16(weights[k].h[j]), x[k].f[j], p[j]);
                }
            }
        }
        for (; c + lane * PAIR_CHAINS < a.n; c += 32) {
            UNROLL for (uint32_t j = 0; j < PAIR_CHAINS; j++)
            {
                p[j] = fma_f32(f32_of_f16(w[c + j]), h[c + j], p[j]);
            }
        }
        UNROLL for (uint32_t j = 0; j < PAIR_CHAINS; j++)
        {
            p[j] += lane_xor_f32(p[j], 4);
            p[j] += lane_xor_f32(p[j], 2);
            p[j] += lane_xor_f32(p[j], 1);
        }
        float sum = (p[0] + p[2]) + (p[1] + p[3]);
        if (lane == 0 && i < n_pairs) {
            a.logits[at] = sum;
        }
    }
}
