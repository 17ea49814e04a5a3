/* SPDX-License-Identifier: MIT */
/* few_N: RMSNorm, int8 and ternary matrices in one launch, for 1 to 4 tokens; what follows (the residual, the
 * gated unit) on the spot. So a layer is five launches.
 *
 * Every block does the norm of the whole row for itself, into shared memory: 10 to 27 KB from L2 against a launch
 * and two trips through memory. So blocks are few and large: about one for each multiprocessor. Its rows of weights,
 * 13 to 68 KB that follow each other, are copied to shared memory first of all, while the launch ahead still runs
 * (HIP_EARLY); GPUs with little of that read them when they need them. One or more waves have a row of weights at a
 * time: lane i the dwords i, i + 32, ..., a slice of 512 columns at once.
 *
 * A dword has 16 weights, as in linear.hip; its activations lie in shared memory as 16 bytes that one load brings.
 * Masks 03 and 0c, a shift by 4, and the same masks again: two accumulators, 9 instructions for 16 weights; for N
 * tokens 5 + 4 N.
 *
 * Loops are kept loops: code that runs once a launch costs 4 to 5 clocks an instruction to fetch. Launches with no
 * attention between them await each other's blocks, which count themselves, not each other's end: 0.4 us less.
 *
 * Bytes: 17.4 MB a layer (2B-4T), 4.0 us at 4.3 TB/s; predicted 8 us a layer. Measured (H200, 2026-11, tests/gpu/run):
 * with codes in registers, 2784 instructions in a row, 6.6 to 8.3 us a launch; codes in shared memory 7.4; one split
 * of the cache for all launches, and the next one started after the wait 5.4; a token in all 1001 us, of 2755 with
 * norm and linear apart. In clocks of 1980 MHz (q k v, 2560 columns): x from L2 1450, sum of squares and root
 * 1180, largest 390, int8 700, products 1680, store 290; the rest, 1.5 us, is from one launch to the next. */
#include "kernels/hip/device.h"

enum {
    FEW_THREADS = 512,
    FEW_WAVES = FEW_THREADS / WAVE,
    FEW_UNITS = 4, /* of 128 columns in a slice */
    FEW_CHUNKS = 4, /* of four columns that a thread norms, one token */
    FEW_ROWS = 4, /* of weights that a wave does at once */
    FEW_MAX_TOKENS = 4,
    FEW_PARTS = 3,
};

/* Shared memory of a block. */
struct few_shared {
    float *of_waves; /* [FEW_WAVES]: largest magnitudes */
    float *root; /* [FEW_MAX_TOKENS]: reciprocals */
    float *scale; /* [FEW_MAX_TOKENS] of int8 */
    int32_t *sum; /* [FEW_MAX_TOKENS] of int8 */
    uint32_t *q; /* [tokens][n_slices * 128]: plane k of dword d at 4 d + k */
    float *stage; /* [n_slices * 512], zero from n on; one token only */
    uint32_t *codes; /* [rows of the block][row_words], where they are copied */
    int32_t *parts; /* [waves of a row][tokens][rows of the block]: sums */
};

/* The block's rows of one part, which lie in its shared memory from row `at` on. */
struct few_piece {
    const uint8_t *codes;
    const float *scales;
    float *y;
    uint32_t row, n, at;
    uint32_t per_scale, n_rows; /* of the matrix */
};

struct few {
    struct few_shared s;
    struct few_piece pieces[FEW_PARTS];
    uint32_t lane, wave;
    uint32_t n_slices; /* of a row of weights */
    uint32_t row_words;
    uint32_t n; /* rows of the block */
    uint32_t token0, n_tokens; /* rows of the step */
};

/* Rows are counted through all parts, or with a gated unit, pairs of rows. Indices of parts are constants, or the
 * arguments would be copied to memory that can be indexed. */
DEVICE struct few_piece few_cut(const struct hip_few_args *a, int i, uint32_t first, uint32_t end)
{
    const struct hip_linear_part *p = &a->parts[i];
    bool is_gated = a->act != HIP_ACT_NONE;
    uint32_t from = is_gated ? 0 : p->first_tile;
    uint32_t begin = first > from ? first : from;
    uint32_t stop = least_u32(end, from + p->n_rows);
    struct few_piece piece;
    piece.codes = p->codes;
    piece.scales = p->scales;
    piece.y = p->y;
    piece.row = begin - from;
    piece.n = stop > begin ? stop - begin : 0;
    piece.at = is_gated ? (uint32_t)i * (end - first) : begin - first;
    piece.per_scale = p->rows_per_scale;
    piece.n_rows = p->n_rows;
    return piece;
}

DEVICE struct few few_begin(const struct hip_few_args *a, int n_tokens, bool is_copied)
{
    struct few f;
    f.lane = thread_id() % WAVE;
    f.wave = thread_id() / WAVE;
    f.n_slices = (a->q_stride / 128 + FEW_UNITS - 1) / FEW_UNITS;
    f.row_words = a->q_stride / 16;
    uint32_t first = block_x() * a->block_rows;
    uint32_t end = least_u32(first + a->block_rows, a->n_rows);
    f.n = 0;
    UNROLL for (int i = 0; i < FEW_PARTS; i++)
    {
        f.pieces[i] = few_cut(a, i, first, end);
        f.n += f.pieces[i].n;
    }
    f.token0 = block_y() * (uint32_t)n_tokens;
    uint32_t n_rows = a->step->n_rows;
    f.n_tokens = f.token0 < n_rows ? least_u32(n_rows - f.token0, (uint32_t)n_tokens) : 0;
    f.s.of_waves = (float *)SHARED_MEMORY;
    f.s.root = f.s.of_waves + FEW_WAVES;
    f.s.scale = f.s.root + FEW_MAX_TOKENS;
    f.s.sum = (int32_t *)(void *)(f.s.scale + FEW_MAX_TOKENS);
    f.s.q = (uint32_t *)(void *)(f.s.sum + FEW_MAX_TOKENS);
    f.s.stage = (float *)(void *)(f.s.q + (uint32_t)n_tokens * f.n_slices * 128);
    f.s.codes = (uint32_t *)(void *)(f.s.stage + (n_tokens == 1 ? f.n_slices * 512 : 0));
    f.s.parts = (int32_t *)(void *)(f.s.codes + (is_copied ? f.n * f.row_words : 0));
    return f;
}

/* The piece that a row of the block belongs to. */
DEVICE struct few_piece few_piece_of(const struct few *f, uint32_t row)
{
    struct few_piece p = f->pieces[0];
    UNROLL for (int i = 1; i < FEW_PARTS; i++)
    {
        if (f->pieces[i].n > 0 && row >= f->pieces[i].at) {
            p = f->pieces[i];
        }
    }
    return p;
}

/* The block's rows of weights to shared memory. */
DEVICE void few_copy(const struct few *f)
{
    uint32_t row_quads = f->row_words / 4;
    UNROLL for (int i = 0; i < FEW_PARTS; i++)
    {
        const struct few_piece *p = &f->pieces[i];
        const struct quad *from = (const struct quad *)(const void *)p->codes + (size_t)p->row * row_quads;
        struct quad *to = (struct quad *)(void *)f->s.codes + p->at * row_quads;
        NO_UNROLL for (uint32_t k = thread_id(); k < p->n * row_quads; k += FEW_THREADS)
        {
            copy16(to + k, from + k);
        }
    }
    copy_commit();
}

/* ---- norm and int8 ---- */

/* One of the 32 chains of the sum of squares: rmsnorm.h. Zeros change nothing. */
DEVICE float few_squares(const float *x, uint32_t n, int ahead)
{
    float v[32];
    float p = 0.0f;
    uint32_t at = thread_id() % WAVE;
    UNROLL for (int k = 0; k < ahead; k++)
    {
        uint32_t i = at + (uint32_t)k * WAVE;
        v[k] = i < n ? x[i] : 0.0f;
    }
    NO_UNROLL for (; at < n; at += (uint32_t)ahead * WAVE)
    {
        UNROLL for (int k = 0; k < ahead; k++)
        {
            uint32_t i = at + (uint32_t)(ahead + k) * WAVE;
            p = fma_f32(v[k], v[k], p);
            v[k] = i < n ? x[i] : 0.0f;
        }
    }
    return p;
}

/* The same of a row in shared memory, which zeros follow up to whole slices. */
DEVICE float few_squares_staged(const float *stage, uint32_t n_slices)
{
    enum { AT_ONCE = 16 }; /* a slice is 16 of each chain */
    float v[AT_ONCE];
    float next[AT_ONCE];
    float p = 0.0f;
    stage += thread_id() % WAVE;
    UNROLL for (uint32_t k = 0; k < AT_ONCE; k++)
    {
        v[k] = stage[k * WAVE];
    }
    NO_UNROLL for (uint32_t s = 0; s < n_slices; s += 2)
    {
        bool has_next = s + 1 < n_slices;
        const float *from = stage + (s + 1) * (AT_ONCE * WAVE);
        UNROLL for (uint32_t k = 0; k < AT_ONCE; k++)
        {
            next[k] = has_next ? from[k * WAVE] : 0.0f;
        }
        UNROLL for (uint32_t k = 0; k < AT_ONCE; k++)
        {
            p = fma_f32(v[k], v[k], p);
        }
        bool has_more = s + 2 < n_slices;
        UNROLL for (uint32_t k = 0; k < AT_ONCE; k++)
        {
            v[k] = has_more ? from[(AT_ONCE + k) * WAVE] : 0.0f;
        }
        UNROLL for (uint32_t k = 0; k < AT_ONCE; k++)
        {
            p = fma_f32(next[k], next[k], p);
        }
    }
    return p;
}

DEVICE float few_root(float p, uint32_t n, float eps)
{
    return 1.0f / sqrt_f32(wave_add_f32(p) / (float)n + eps);
}

DEVICE struct four few_four(const float *from, uint32_t i, uint32_t n)
{
    struct four x = ((const struct four *)(const void *)from)[least_u32(i, n / 4 - 1)];
    UNROLL for (int k = 0; k < 4; k++)
    {
        x.f[k] = 4 * i < n ? x.f[k] : 0.0f;
    }
    return x;
}

/* Where four columns' bytes lie in a token's q. */
DEVICE uint32_t few_place(uint32_t i)
{
    return i / 32 * 32 + i % 8 * 4 + i / 8 % 4;
}

DEVICE uint32_t few_int8(const struct four *y, float inv, int32_t *sum)
{
    uint32_t four = 0;
    UNROLL for (int k = 0; k < 4; k++)
    {
        four |= (bits_of_f32(int8_as_f32(y->f[k], inv)) & 255) << 8 * k;
    }
    *sum = dot4(four, 0x01010101U, *sum);
    return four;
}

/* Of n waves, a multiple of 4; a barrier lies between the writing and this. */
DEVICE float few_most(const float *of_waves, uint32_t n)
{
    float most = QUANTIZE_LEAST;
    UNROLL for (uint32_t i = 0; i < n / 4; i++)
    {
        const struct four v = ((const struct four *)(const void *)of_waves)[i];
        UNROLL for (int k = 0; k < 4; k++)
        {
            most = __builtin_fmaxf(most, v.f[k]);
        }
    }
    return most;
}

/* What the products need besides q; the barrier makes all of it visible, and the codes, too. */
DEVICE void few_end_norm(const struct few *f, uint32_t token, float most, int32_t sum)
{
    sum = wave_sum_i32(sum);
    if (f->lane == 0) {
        add_shared(&f->s.sum[token], sum);
        f->s.scale[token] = most / 127.0f; /* the same from each wave of the token */
    }
    copy_wait(0);
    barrier();
}

/* One token, in shared memory. */
DEVICE void few_norm_one(const struct hip_few_args *a, const struct few *f)
{
    const float *from = a->x + (size_t)f->token0 * a->n;
    struct four *stage = (struct four *)(void *)f->s.stage;
    struct four y[FEW_CHUNKS];
    UNROLL for (uint32_t i = 0; i < FEW_CHUNKS; i++)
    {
        y[i] = few_four(from, thread_id() + i * FEW_THREADS, a->n);
    }
    UNROLL for (uint32_t i = 0; i < FEW_CHUNKS; i++)
    {
        uint32_t at = thread_id() + i * FEW_THREADS;
        if (at < f->n_slices * 128) {
            stage[at] = y[i];
        }
        if (a->weight != NULL) {
            y[i] = few_four(a->weight, at, a->n); /* arrives during the chains */
        }
    }
    barrier();
    if (f->wave == 0 && a->weight != NULL) {
        float r = few_root(few_squares_staged(f->s.stage, f->n_slices), a->n, a->eps);
        if (f->lane == 0) {
            f->s.root[0] = r;
        }
    }
    barrier();
    float most = 0.0f;
    float r = f->s.root[0];
    UNROLL for (uint32_t i = 0; i < FEW_CHUNKS; i++)
    {
        uint32_t at = thread_id() + i * FEW_THREADS;
        if (at < f->n_slices * 128) {
            struct four x = stage[at];
            UNROLL for (int k = 0; k < 4; k++)
            {
                x.f[k] = a->weight != NULL ? (x.f[k] * r) * y[i].f[k] : x.f[k];
                most = __builtin_fmaxf(most, magnitude_f32(x.f[k]));
            }
            stage[at] = x;
        }
    }
    most = wave_most_f32(most);
    if (f->lane == 0) {
        f->s.of_waves[f->wave] = most;
    }
    barrier();
    most = few_most(f->s.of_waves, FEW_WAVES);
    float inv = 127.0f / most;
    int32_t sum = 0;
    NO_UNROLL for (uint32_t at = thread_id(); at < f->n_slices * 128; at += FEW_THREADS)
    {
        f->s.q[few_place(at)] = few_int8(&stage[at], inv, &sum);
    }
    few_end_norm(f, 0, most, sum);
}

/* y of four columns. */
DEVICE struct four few_normed(const struct hip_few_args *a, const float *from, uint32_t i, float r)
{
    struct four x = few_four(from, i, a->n);
    if (a->weight != NULL) {
        const struct four w = few_four(a->weight, i, a->n);
        UNROLL for (int k = 0; k < 4; k++)
        {
            x.f[k] = (x.f[k] * r) * w.f[k];
        }
    }
    return x;
}

/* Several tokens, each by some of the waves; their columns come three times, through the first-level cache. */
DEVICE void few_norm_some(const struct hip_few_args *a, const struct few *f, int n_tokens)
{
    uint32_t per_token = FEW_WAVES / (uint32_t)n_tokens;
    uint32_t token = f->wave / per_token;
    uint32_t first = f->wave % per_token * WAVE + f->lane;
    uint32_t step = per_token * WAVE;
    bool is_there = token < f->n_tokens;
    const float *from = a->x + (size_t)(f->token0 + (is_there ? token : 0)) * a->n;
    if (f->wave % per_token == 0 && a->weight != NULL) {
        float r = few_root(few_squares(from, a->n, 32), a->n, a->eps);
        if (f->lane == 0) {
            f->s.root[token] = r;
        }
    }
    barrier();
    float r = a->weight != NULL ? f->s.root[token] : 1.0f;
    float most = 0.0f;
    NO_UNROLL for (uint32_t i = first; i < a->q_stride / 4; i += step)
    {
        const struct four y = few_normed(a, from, i, r);
        UNROLL for (int k = 0; k < 4; k++)
        {
            most = __builtin_fmaxf(most, magnitude_f32(y.f[k]));
        }
    }
    most = wave_most_f32(most);
    if (f->lane == 0) {
        f->s.of_waves[f->wave] = most;
    }
    barrier();
    most = few_most(f->s.of_waves + token * per_token, per_token);
    float inv = 127.0f / most;
    int32_t sum = 0;
    uint32_t *q = f->s.q + token * f->n_slices * 128;
    NO_UNROLL for (uint32_t i = first; i < f->n_slices * 128; i += step)
    {
        const struct four y = few_normed(a, from, i, r);
        q[few_place(i)] = few_int8(&y, inv, &sum);
    }
    few_end_norm(f, token, most, sum);
}

/* ---- products ---- */

/* Sums of the wave's rows of the block. */
DEVICE void few_dot(const struct hip_few_args *a, const struct few *f, int n_tokens, bool is_copied)
{
    uint32_t n_teams = FEW_WAVES / a->row_waves;
    uint32_t team = f->wave / a->row_waves;
    uint32_t part = f->wave % a->row_waves;
    uint32_t per_wave = (f->n_slices + a->row_waves - 1) / a->row_waves;
    uint32_t end = least_u32((part + 1) * per_wave, f->n_slices);
    if (team >= n_teams) { /* a wave that is left over */
        return;
    }
    NO_UNROLL for (uint32_t row = team; row < f->n; row += FEW_ROWS * n_teams)
    {
        int32_t one[FEW_ROWS][FEW_MAX_TOKENS];
        int32_t fold[FEW_ROWS][FEW_MAX_TOKENS]; /* 4 times what it counts */
        const uint32_t *w[FEW_ROWS];
        UNROLL for (uint32_t r = 0; r < FEW_ROWS; r++)
        {
            uint32_t i = least_u32(row + r * n_teams, f->n - 1);
            if (is_copied) {
                w[r] = f->s.codes + i * f->row_words;
            } else {
                const struct few_piece p = few_piece_of(f, i);
                w[r] = (const uint32_t *)(const void *)p.codes + (size_t)(p.row + i - p.at) * f->row_words;
            }
            UNROLL for (int t = 0; t < n_tokens; t++)
            {
                one[r][t] = 0;
                fold[r][t] = 0;
            }
        }
        NO_UNROLL for (uint32_t s = part * per_wave; s < end; s++)
        {
            uint32_t d = s * WAVE + f->lane;
            struct quad q[FEW_MAX_TOKENS];
            uint32_t low[FEW_ROWS];
            UNROLL for (uint32_t r = 0; r < FEW_ROWS; r++)
            {
                low[r] = w[r][least_u32(d, f->row_words - 1)]; /* q is 0 there */
            }
            UNROLL for (int t = 0; t < n_tokens; t++)
            {
                q[t] = ((const struct quad *)(const void *)f->s.q)[(uint32_t)t * f->n_slices * WAVE + d];
            }
            UNROLL for (uint32_t r = 0; r < FEW_ROWS; r++)
            {
                uint32_t high = low[r] >> 4;
                UNROLL for (int t = 0; t < n_tokens; t++)
                {
                    one[r][t] = dot4(low[r] & 0x03030303U, q[t].w[0], one[r][t]);
                    fold[r][t] = dot4(low[r] & 0x0c0c0c0cU, q[t].w[1], fold[r][t]);
                    one[r][t] = dot4(high & 0x03030303U, q[t].w[2], one[r][t]);
                    fold[r][t] = dot4(high & 0x0c0c0c0cU, q[t].w[3], fold[r][t]);
                }
            }
        }
        UNROLL for (uint32_t r = 0; r < FEW_ROWS; r++)
        {
            uint32_t i = row + r * n_teams;
            UNROLL for (uint32_t t = 0; t < (uint32_t)n_tokens; t++)
            {
                int32_t sum = wave_sum_i32(one[r][t] + fold[r][t] / 4);
                if (f->lane == r * FEW_MAX_TOKENS + t && i < f->n) {
                    f->s.parts[(part * (uint32_t)n_tokens + t) * f->n + i] = sum;
                }
            }
        }
    }
}

/* ---- what becomes of the sums ---- */

/* A row of the block and a token: the thread's own. plan.c sees to it that there are enough threads. */
struct few_out {
    float *y;
    float scale, scale_up;
    float old; /* what the product is added to */
    uint32_t row, token;
    bool is_there;
};

DEVICE struct few_out few_aim(const struct hip_few_args *a, const struct few *f)
{
    struct few_out o;
    bool is_gated = a->act != HIP_ACT_NONE;
    uint32_t n = is_gated ? f->n / 2 : f->n;
    o.token = thread_id() / n;
    o.row = thread_id() - o.token * n;
    o.is_there = o.token < f->n_tokens;
    const struct few_piece p = few_piece_of(f, o.row);
    uint32_t r = p.row + o.row - p.at;
    o.scale = p.scales[r / p.per_scale];
    o.scale_up = 0.0f;
    if (is_gated) {
        o.scale_up = f->pieces[1].scales[r / f->pieces[1].per_scale];
    }
    o.y = p.y + (size_t)(f->token0 + o.token) * p.n_rows + r;
    o.old = 0.0f;
    return o;
}

/* The sum of a row and token, scaled. */
DEVICE float few_scaled(const struct hip_few_args *a, const struct few *f, int n_tokens, uint32_t row,
                        uint32_t token, float scale)
{
    int32_t sum = 0;
    NO_UNROLL for (uint32_t i = 0; i < a->row_waves; i++)
    {
        sum += f->s.parts[(i * (uint32_t)n_tokens + token) * f->n + row];
    }
    float y = (float)(sum - f->s.sum[token]) * f->s.scale[token];
    return y * scale;
}

DEVICE void few_store(const struct hip_few_args *a, const struct few *f, int n_tokens, const struct few_out *o)
{
    if (!o->is_there) {
        return;
    }
    float y = few_scaled(a, f, n_tokens, o->row, o->token, o->scale);
    if (a->act != HIP_ACT_NONE) {
        float up = few_scaled(a, f, n_tokens, f->n / 2 + o->row, o->token, o->scale_up);
        y = gated(a->act, y, up);
    }
    *o->y = a->is_added ? o->old + y : y;
}

DEVICE void few_rows(const struct hip_few_args *a, const struct few *f, struct few_out *o, int n_tokens,
                     bool is_copied)
{
    if (a->is_added && o->is_there) {
        o->old = *o->y;
    }
    if (n_tokens == 1) {
        few_norm_one(a, f);
    } else {
        few_norm_some(a, f, n_tokens);
    }
    few_dot(a, f, n_tokens, is_copied);
    barrier();
    few_store(a, f, n_tokens, o);
}

/* The launch ahead may be one whose blocks count themselves: then this one begins when the last has done so, which is
 * sooner than its end is known. All of them run by then, or the launch would not have begun. */
DEVICE void few(const struct hip_few_args *a, int n_tokens, bool is_copied)
{
    const struct few f = few_begin(a, n_tokens, is_copied);
    if (is_copied) {
        few_copy(&f);
    }
    struct few_out o = few_aim(a, &f);
    if (a->weight != NULL) {
        NO_UNROLL for (uint32_t i = thread_id() * 32; i < a->n; i += FEW_THREADS * 32)
        {
            prefetch(a->weight + i);
        }
    }
    if (thread_id() < FEW_MAX_TOKENS) {
        f.s.sum[thread_id()] = 0; /* a barrier comes before the first addition */
    }
    if (a->awaited != NULL) {
        if (thread_id() == 0) {
            await_count(a->awaited, a->n_awaited);
        }
        barrier();
    } else {
        wait_previous();
    }
    launch_next();
    if (f.n_tokens > 0) {
        few_rows(a, &f, &o, n_tokens, is_copied);
    }
    if (a->arrived != NULL) {
        fence_release();
        barrier();
        if (thread_id() == 0) {
            add_global(a->arrived, 1);
        }
    }
    if (a->awaited != NULL) {
        wait_previous(); /* it has ended by now; so whoever waits for this launch has waited for all before it */
    }
}

KERNEL_BLOCKS(few_1, few, FEW_THREADS, 2)
{
    few(&a, 1, true);
}

KERNEL_BLOCKS(few_2, few, FEW_THREADS, 2)
{
    few(&a, 2, true);
}

KERNEL(few_4, few, FEW_THREADS)
{
    few(&a, 4, true);
}

/* Codes are read when they are needed. */
KERNEL(few_direct_1, few, FEW_THREADS)
{
    few(&a, 1, false);
}

KERNEL(few_direct_4, few, FEW_THREADS)
{
    few(&a, 4, false);
}
