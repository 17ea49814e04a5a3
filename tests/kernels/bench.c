/* SPDX-License-Identifier: MIT */
/* Speed of the kernels on one thread, per instruction set, beside what the machine can do at the same
 * moment: reading memory, multiply-adds of int8 and of f32 in registers.
 *
 *   build/tests/kernels/kernels_bench [part ...] [level ...]
 *
 * parts: gemv gemm packings head planes attention rows; levels: avx2 avxvnni avx512 neon
 *
 * Kernel and limit run in turns, REPEATS times; each figure is a median. Time is the thread's
 * processor time, so other processes disturb it only through the caches and the memory they use.
 * Matrices are cycled through so that weights come from memory, not from a cache. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"
#include "kernels/unroll.h"

enum { REPEATS = 9 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double x[REPEATS])
{
    qsort(x, REPEATS, sizeof *x, compare_doubles);
    return x[REPEATS / 2];
}

typedef void task(void *arg);

static double time_s(task *run, void *arg)
{
    double t = now_s();
    run(arg);
    return now_s() - t;
}

/* Median seconds of a call. */
static double measure_s(task *run, void *arg)
{
    double s[REPEATS];
    run(arg);
    for (int i = 0; i < REPEATS; i++) {
        s[i] = time_s(run, arg);
    }
    return median(s);
}

/* Work that bounds a kernel's speed from above; amount / seconds is the limit. */
struct limit {
    task *run;
    void *arg;
    double amount;
};

struct speed {
    double kernel, limit; /* amounts per second */
};

/* `run` does `amount` of the same kind as the limit. */
static struct speed measure(task *run, void *arg, double amount, const struct limit *limit)
{
    double s[REPEATS], limit_s[REPEATS];
    run(arg);
    limit->run(limit->arg);
    for (int i = 0; i < REPEATS; i++) {
        s[i] = time_s(run, arg);
        limit_s[i] = time_s(limit->run, limit->arg);
    }
    return (struct speed){amount / median(s), limit->amount / median(limit_s)};
}

static void print_speed(const char *unit, const char *of, struct speed v)
{
    printf("%7.1f %s, %3.0f%% of %s %.1f\n", v.kernel * 1e-9, unit, 100 * v.kernel / v.limit, of,
           v.limit * 1e-9);
}

static void *alloc(size_t size)
{
    void *p = aligned_alloc(64, (size + 63) / 64 * 64);
    if (p == NULL) {
        fprintf(stderr, "bench: out of memory\n");
        exit(1);
    }
    return p;
}

static uint32_t random_state = 1;

static uint32_t random_u32(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8 ^ random_state << 16;
}

static float *random_floats(size_t n)
{
    float *x = alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(random_u32() % 2001) * 1e-3f - 1.0f;
    }
    return x;
}

static uint16_t *random_halves(size_t n)
{
    uint16_t *x = alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (uint16_t)(random_u32() % 0x3c00);
    }
    return x;
}

/* What the machine can do. */

struct memory {
    const uint64_t *p;
    size_t n;
    uint64_t sum;
};

enum { MEMORY_BYTES = 128 << 20, LIMIT_LOOPS = 500000, CHAINS = 10 };

#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma")))
#define AVXVNNI __attribute__((target("avx2,avxvnni")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vnni,avx512vl,avx2,fma")))

AVX2 static void read_memory(void *arg)
{
    struct memory *m = arg;
    __m256i s[8];
    memset(s, 0, sizeof s);
    for (size_t i = 0; i < m->n; i += 32) {
        for (size_t k = 0; k < 8; k++) {
            const void *from = m->p + i + 4 * k;
            s[k] = _mm256_add_epi64(s[k], _mm256_load_si256((const __m256i *)from));
        }
    }
    for (size_t k = 0; k < 8; k++) {
        m->sum += (uint64_t)_mm256_extract_epi64(s[k], 0);
    }
}

/* CHAINS independent accumulators, enough to hide the latency of the operation; in assembly, for a
 * compiler sees that the chains are equal and keeps one. */
#define CHAIN_LOOP(type, operation)                                                                \
    const type a = {0};                                                                            \
    type s[CHAINS];                                                                                \
    UNROLL                                                                                         \
    for (int k = 0; k < CHAINS; k++) {                                                             \
        s[k] = a;                                                                                  \
    }                                                                                              \
    for (int i = 0; i < LIMIT_LOOPS; i++) {                                                        \
        UNROLL                                                                                     \
        for (int k = 0; k < CHAINS; k++) {                                                         \
            /* NOLINTNEXTLINE(bugprone-macro-parentheses) */                                       \
            __asm__ volatile(operation : "+v"(s[k]) : "v"(a) : "xmm15");                           \
        }                                                                                          \
    }                                                                                              \
    (void)arg

AVX2 static void int8_avx2(void *arg)
{
    CHAIN_LOOP(__m256i, "vpmaddubsw %1, %1, %%ymm15\n\tvpaddw %%ymm15, %0, %0");
}

AVXVNNI static void int8_avxvnni(void *arg)
{
    CHAIN_LOOP(__m256i, "%{vex%} vpdpbusd %1, %1, %0");
}

AVX512 static void int8_avx512(void *arg)
{
    CHAIN_LOOP(__m512i, "vpdpbusd %1, %1, %0");
}

AVX2 static void f32_avx2(void *arg)
{
    CHAIN_LOOP(__m256, "vfmadd231ps %1, %1, %0");
}

AVX512 static void f32_avx512(void *arg)
{
    CHAIN_LOOP(__m512, "vfmadd231ps %1, %1, %0");
}

static struct limit int8_limit(enum isa level)
{
    double loops = (double)LIMIT_LOOPS * CHAINS;
    return level == ISA_AVX512    ? (struct limit){int8_avx512, NULL, 64 * loops}
           : level == ISA_AVXVNNI ? (struct limit){int8_avxvnni, NULL, 32 * loops}
                                  : (struct limit){int8_avx2, NULL, 32 * loops};
}

static struct limit f32_limit(enum isa level)
{
    double loops = (double)LIMIT_LOOPS * CHAINS;
    return level == ISA_AVX512 ? (struct limit){f32_avx512, NULL, 16 * loops}
                               : (struct limit){f32_avx2, NULL, 8 * loops};
}
#else
static void read_memory(void *arg)
{
    struct memory *m = arg;
    for (size_t i = 0; i < m->n; i++) {
        m->sum += m->p[i];
    }
}

static void add_floats(void *arg)
{
    (void)arg;
    float s = 0.0f;
    for (int i = 0; i < LIMIT_LOOPS; i++) {
        s += (float)i;
        __asm__ volatile("" : : "m"(s));
    }
}

static struct limit int8_limit(enum isa level)
{
    (void)level;
    return (struct limit){add_floats, NULL, LIMIT_LOOPS};
}

static struct limit f32_limit(enum isa level)
{
    return int8_limit(level);
}
#endif

static struct limit read_limit(void)
{
    static struct memory m;
    if (m.p == NULL) {
        void *p = alloc(MEMORY_BYTES);
        memset(p, 1, MEMORY_BYTES);
        m = (struct memory){p, MEMORY_BYTES / sizeof(uint64_t), 0};
    }
    return (struct limit){read_memory, &m, MEMORY_BYTES};
}

/* Ternary layers. */

static const struct shape {
    uint32_t cols, rows;
} shapes[] = {{2560, 6912}, {6912, 2560}, {2560, 2560}, {512, 1536}};

struct layer {
    const struct kernels *k;
    struct ternary_weights w;
    struct quantized x;
    size_t n_copies; /* matrices one after the other in memory */
    float *y;
};

/* How the weights are packed and scaled. */
static const struct packing {
    const char *name;
    enum ternary_packing packing;
    uint32_t group;
} packings[] = {
    {"t2", TERNARY_T2, 0},       {"t5", TERNARY_T5, 0},       {"s3", TERNARY_S3, 0},
    {"b1", TERNARY_B1, 0},       {"t2/128", TERNARY_T2, 128}, {"t2/64", TERNARY_T2, 64},
    {"t5/128", TERNARY_T5, 128}, {"b1/128", TERNARY_B1, 128},
};

static void layer_init(struct layer *l, struct shape s, const struct packing *p, size_t n_copies,
                       uint32_t n_tokens)
{
    size_t bytes = s.rows * ternary_row_bytes(p->packing, s.cols) * n_copies;
    uint8_t *codes = alloc(bytes);
    for (size_t i = 0; i < bytes; i++) {
        uint32_t u = random_u32();
        if (p->packing == TERNARY_T2) {
            u = u % 3 | u / 3 % 3 << 2 | u / 9 % 3 << 4 | u / 27 % 3 << 6;
        }
        codes[i] = (uint8_t)u;
    }
    size_t stride = quantize_stride(s.cols);
    int8_t *q = alloc(stride * n_tokens);
    for (size_t i = 0; i < stride * n_tokens; i++) {
        q[i] = (int8_t)(random_u32() % 255 - 127);
    }
    size_t n_groups = p->group > 0 ? s.cols / p->group : 1;
    l->w = (struct ternary_weights){codes,   random_floats(p->group > 0 ? s.rows * n_groups : 1),
                                    s.rows,  s.cols,
                                    s.rows,  p->packing,
                                    p->group};
    l->x = (struct quantized){q,
                              stride,
                              random_floats(n_tokens * n_groups),
                              alloc(n_tokens * sizeof(int32_t)),
                              n_tokens,
                              s.cols,
                              p->group};
    memset(l->x.sum, 0, n_tokens * sizeof(int32_t));
    l->n_copies = n_copies;
    l->y = alloc((size_t)s.rows * n_tokens * sizeof(float));
}

static void layer_fini(struct layer *l)
{
    union {
        const void *c;
        void *p;
    } codes = {l->w.codes}, scales = {l->w.scales};
    free(codes.p);
    free(scales.p);
    free(l->x.q);
    free(l->x.scale);
    free(l->x.sum);
    free(l->y);
}

static void layer_run(void *arg)
{
    struct layer *l = arg;
    struct ternary_weights w = l->w;
    for (size_t i = 0; i < l->n_copies; i++) {
        l->k->ternary_matmul(&w, &l->x, 0, w.n_rows, l->y, w.n_rows);
        w.codes += w.n_rows * ternary_row_bytes(w.packing, w.n_cols);
    }
}

static void bench_gemv(const struct kernels *k, struct shape s, const struct packing *p,
                       uint32_t max_tokens)
{
    const struct limit read = read_limit();
    size_t bytes = s.rows * ternary_row_bytes(p->packing, s.cols);
    struct layer l;
    layer_init(&l, s, p, MEMORY_BYTES / bytes, max_tokens);
    l.k = k;
    for (uint32_t tokens = 1; tokens <= max_tokens; tokens *= 2) {
        l.x.n_tokens = tokens;
        printf("gemv %-7s %-6s %4ux%-4u tokens %2u: ", k->isa_name, p->name, s.cols, s.rows,
               tokens);
        print_speed("GB/s", "read", measure(layer_run, &l, (double)(bytes * l.n_copies), &read));
    }
    layer_fini(&l);
}

static void bench_gemm(const struct kernels *k, enum isa level, struct shape s,
                       const struct packing *p)
{
    static const uint32_t counts[] = {8, 32, 512};
    const struct limit int8 = int8_limit(level);
    struct layer l;
    layer_init(&l, s, p, 1, 512);
    l.k = k;
    for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
        l.x.n_tokens = counts[j];
        double macs = (double)s.rows * s.cols * counts[j];
        printf("gemm %-7s %-6s %4ux%-4u tokens %3u: ", k->isa_name, p->name, s.cols, s.rows,
               counts[j]);
        print_speed("GMAC/s", "int8", measure(layer_run, &l, macs, &int8));
    }
    layer_fini(&l);
}

static void bench_packings(const struct kernels *k, enum isa level)
{
    for (size_t i = 0; i < sizeof packings / sizeof *packings; i++) {
        bench_gemv(k, shapes[0], &packings[i], 4);
        bench_gemm(k, level, shapes[0], &packings[i]);
    }
}

struct head {
    const struct kernels *k;
    const uint16_t *w;
    size_t n_cols, n_rows;
    struct head_input x;
    float *y;
};

static void head_run(void *arg)
{
    struct head *h = arg;
    h->k->head_logits(h->w, h->n_cols, &h->x, 0, h->n_rows, h->y, h->n_rows);
}

static void bench_head(const struct kernels *k)
{
    struct head h = {.k = k, .n_cols = 2560, .n_rows = 32768};
    h.w = random_halves(h.n_cols * h.n_rows);
    h.x = (struct head_input){random_floats(h.n_cols * 16), h.n_cols, 16};
    h.y = alloc(h.n_rows * 16 * sizeof(float));
    const struct limit read = read_limit();
    double bytes = 2.0 * (double)(h.n_cols * h.n_rows);
    for (h.x.n_tokens = 1; h.x.n_tokens <= 16; h.x.n_tokens *= 2) {
        printf("head %-7s 2560x32768 tokens %2zu: ", k->isa_name, h.x.n_tokens);
        print_speed("GB/s", "read", measure(head_run, &h, bytes, &read));
    }
}

/* One plane of a head from memory (64128 x 2560) and from a cache (2048 x 512), and the bounds. */
struct planes_work {
    const struct kernels *k;
    struct planes w;
    struct planes_input x;
    struct planes_rows rows;
    int32_t *sums;
    float *lower, *upper;
    unsigned plane;
    size_t n_calls;
};

static void planes_run(void *arg)
{
    struct planes_work *p = arg;
    for (size_t i = 0; i < p->n_calls; i++) {
        p->k->planes_sum(&p->w, p->plane, &p->x, &p->rows, p->sums, p->rows.n);
        p->k->planes_bound(&p->w, p->plane, &p->x, &p->rows, p->sums, p->lower, p->upper,
                           p->rows.n);
    }
}

/* One plane after the other if `plane` is 1, both at once if 0. */
static void planes_two_run(void *arg)
{
    struct planes_work *p = arg;
    for (unsigned k = 0; k < 2 * p->plane; k++) {
        p->k->planes_sum(&p->w, k, &p->x, &p->rows, p->sums, p->rows.n);
    }
    if (p->plane == 0) {
        p->k->planes_sum_top(&p->w, &p->x, &p->rows, p->sums, p->rows.n);
    }
}

static void bench_planes_of(const struct kernels *k, uint32_t n_rows, uint32_t n_cols)
{
    enum { TOKENS = 16 };
    struct planes_work p = {.k = k, .w.n_cols = n_cols, .rows.n = n_rows};
    const struct limit read = read_limit();
    size_t stride = planes_stride(n_cols);
    float *h = random_floats(n_cols);
    p.w.scale = random_floats(n_rows);
    p.w.norm = random_floats(n_rows);
    p.x = (struct planes_input){.hi = alloc(TOKENS * stride),
                                .lo = alloc(TOKENS * stride),
                                .total = alloc(TOKENS * sizeof(int32_t)),
                                .xs = alloc(TOKENS * sizeof(float)),
                                .a = alloc(TOKENS * sizeof(float)),
                                .b = alloc(TOKENS * sizeof(float))};
    p.sums = alloc((size_t)TOKENS * n_rows * sizeof *p.sums);
    p.lower = alloc((size_t)TOKENS * n_rows * sizeof *p.lower);
    p.upper = alloc((size_t)TOKENS * n_rows * sizeof *p.upper);
    for (size_t t = 0; t < TOKENS; t++) {
        (void)planes_quantize(h, n_cols, &p.x, t);
    }
    for (p.plane = 0; p.plane < PLANES; p.plane++) {
        size_t bytes = n_rows * planes_row_bytes(n_cols, p.plane);
        p.w.plane[p.plane] = alloc(bytes);
        memset(p.w.plane[p.plane], 0x5a, bytes);
        p.w.err[p.plane] = random_floats(n_rows);
        p.n_calls = 1 + (8u << 20) / bytes;
        for (p.x.n_tokens = 1; p.x.n_tokens <= 4; p.x.n_tokens *= 4) {
            printf("plane %u %-7s %ux%u tokens %u: ", p.plane, k->isa_name, n_rows, n_cols,
                   p.x.n_tokens);
            print_speed("GB/s", "read",
                        measure(planes_run, &p, (double)(bytes * p.n_calls), &read));
        }
    }
    for (p.x.n_tokens = 1; p.x.n_tokens <= TOKENS; p.x.n_tokens *= 2) {
        for (p.plane = 0; p.plane < 2; p.plane++) {
            printf("planes 0, 1 %s %-7s %ux%u tokens %u: %.0f us\n",
                   p.plane == 0 ? "at once" : "in turn", k->isa_name, n_rows, n_cols, p.x.n_tokens,
                   measure_s(planes_two_run, &p) * 1e6);
        }
    }
}

static void bench_planes(const struct kernels *k)
{
    bench_planes_of(k, 64128, 2560);
    bench_planes_of(k, 2048, 512);
}

struct heads {
    void (*run)(const struct attention *a);
    struct attention a;
    size_t n_kv_heads, part_bytes;
};

static void heads_run(void *arg)
{
    struct heads *h = arg;
    struct attention a = h->a;
    for (size_t i = 0; i < h->n_kv_heads; i++) {
        h->run(&a);
        a.offset += h->part_bytes;
    }
}

static void bench_attention_kind(const struct kernels *k, enum isa level, bool is_int8)
{
    enum { HD = 128, GROUP = 4, KV = 5, POS = 8192, TOKENS = 256 };
    size_t part = is_int8 ? attention8_part_bytes(HD) : attention_part_bytes(HD);
    uint8_t *cache = (uint8_t *)random_halves((size_t)POS / ATTENTION_BLOCK * KV * part / 2);
    const uint8_t **blocks = alloc((size_t)POS / ATTENTION_BLOCK * sizeof *blocks);
    for (size_t i = 0; i < POS / ATTENTION_BLOCK; i++) {
        blocks[i] = cache + i * KV * part;
        for (size_t at = 0; at < KV * part && is_int8; at += part) {
            float *scales = (void *)(cache + i * KV * part + at + (size_t)2 * ATTENTION_BLOCK * HD);
            for (size_t s = 0; s < (size_t)2 * ATTENTION_BLOCK; s++) {
                scales[s] = 0.01f;
            }
        }
    }
    struct heads h = {is_int8 ? k->attention8_run : k->attention_run,
                      {.blocks = blocks,
                       .head_dim = HD,
                       .n_heads = GROUP,
                       .q = random_floats((size_t)GROUP * HD * TOKENS),
                       .q_stride = (size_t)GROUP * HD,
                       .out = alloc((size_t)GROUP * HD * TOKENS * sizeof(float)),
                       .out_stride = (size_t)GROUP * HD},
                      KV,
                      part};
    const struct limit read = read_limit();
    const struct limit f32 = f32_limit(level);
    const char *name = is_int8 ? "int8" : "f16";
    for (size_t n = 512; n <= POS; n *= 4) {
        h.a.n_tokens = 1;
        h.a.pos0 = n - 1;
        printf("attention %-4s %-7s decode at %4zu: ", name, k->isa_name, n);
        double bytes = (double)(n / ATTENTION_BLOCK * KV * part);
        print_speed("GB/s", "read", measure(heads_run, &h, bytes, &read));
        h.a.n_tokens = TOKENS;
        h.a.pos0 = n - TOKENS;
        double macs = 2.0 * HD * GROUP * KV * TOKENS * ((double)n - TOKENS / 2.0);
        printf("attention %-4s %-7s prefill of %d at %4zu: ", name, k->isa_name, TOKENS, n);
        print_speed("GMAC/s", "f32", measure(heads_run, &h, macs, &f32));
    }
}

static void bench_attention(const struct kernels *k, enum isa level)
{
    bench_attention_kind(k, level, false);
    bench_attention_kind(k, level, true);
}

/* Operations on a row. */

struct rows {
    const struct kernels *k;
    float *x, *y, *w;
    struct quantized q;
    float sum;
};

enum { ROW_LOOPS = 200 };

static void rmsnorm_run(void *arg)
{
    struct rows *r = arg;
    for (int i = 0; i < ROW_LOOPS; i++) {
        r->k->rmsnorm_row(r->x, r->w, 2560, 1e-5f, r->y);
    }
}

static void quantize_run(void *arg)
{
    struct rows *r = arg;
    for (int i = 0; i < ROW_LOOPS; i++) {
        r->k->quantize_row(r->x, &r->q, 0);
    }
}

static void glu_run(void *arg)
{
    struct rows *r = arg;
    for (int i = 0; i < ROW_LOOPS; i++) {
        r->k->glu_relu2(r->x, r->w, 6912, r->y);
    }
}

static void silu_run(void *arg)
{
    struct rows *r = arg;
    for (int i = 0; i < ROW_LOOPS; i++) {
        r->k->glu_silu(r->x, r->w, 6912, r->y);
    }
}

static void hadamard_run(void *arg)
{
    struct rows *r = arg;
    for (int i = 0; i < ROW_LOOPS; i++) {
        r->k->hadamard_rotate(r->y, 6912, 256);
    }
}

static void rope_run(void *arg)
{
    struct rows *r = arg;
    for (int i = 0; i < ROW_LOOPS; i++) {
        r->k->rope_rotate(r->y, 25, 128, r->x, r->w);
    }
}

static void softmax_run(void *arg)
{
    struct rows *r = arg;
    r->sum += r->k->softmax_max(r->x, 128256);
    r->sum += r->k->softmax_exp(r->x, 128256, 1.0f, 1.0f, r->y);
}

static void gumbel_run(void *arg)
{
    struct rows *r = arg;
    r->k->gumbel_noise(&(struct gumbel){.seed = 7, .scale = 1.0f}, 0, 128256, r->y);
}

static void bench_rows(const struct kernels *k)
{
    enum { N = 128256 };
    float scale;
    int32_t sum;
    struct rows r = {.k = k, .x = random_floats(N), .y = random_floats(N), .w = random_floats(N)};
    r.q = (struct quantized){alloc(6912), 6912, &scale, &sum, 1, 6912, 0};
    const struct {
        const char *what;
        task *run;
        int loops;
    } rows[] = {
        {"rmsnorm 2560", rmsnorm_run, ROW_LOOPS},
        {"quantize 6912", quantize_run, ROW_LOOPS},
        {"glu 6912", glu_run, ROW_LOOPS},
        {"silu glu 6912", silu_run, ROW_LOOPS},
        {"hadamard 6912 by 256", hadamard_run, ROW_LOOPS},
        {"rope 25 heads of 128", rope_run, ROW_LOOPS},
        {"softmax max and exp 128256", softmax_run, 1},
        {"gumbel noise 128256", gumbel_run, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        printf("rows %-7s %-26s %8.0f ns\n", k->isa_name, rows[i].what,
               measure_s(rows[i].run, &r) / rows[i].loops * 1e9);
    }
}

static bool is_wanted(int argc, char **argv, const char *part)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], part) == 0) {
            return true;
        }
    }
    return argc == 1;
}

/* Whether the level is named, or none is. */
static bool is_wanted_level(int argc, char **argv, enum isa level)
{
    bool is_any = false;
    for (int i = 1; i < argc; i++) {
        enum isa named;
        if (kernels_isa_parse(argv[i], &named)) {
            if (named == level) {
                return true;
            }
            is_any = true;
        }
    }
    return !is_any;
}

int main(int argc, char **argv)
{
    for (int i = ISA_REF + 1; i < ISA_COUNT; i++) {
        enum isa level = (enum isa)i;
        const struct kernels *k = kernels_get(level);
        if (k == NULL || !is_wanted_level(argc, argv, level)) {
            continue;
        }
        if (is_wanted(argc, argv, "gemv")) {
            for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
                bench_gemv(k, shapes[j], &packings[0], 16);
            }
        }
        if (is_wanted(argc, argv, "gemm")) {
            for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
                bench_gemm(k, level, shapes[j], &packings[0]);
            }
        }
        if (is_wanted(argc, argv, "packings")) {
            bench_packings(k, level);
        }
        if (is_wanted(argc, argv, "head")) {
            bench_head(k);
        }
        if (is_wanted(argc, argv, "planes")) {
            bench_planes(k);
        }
        if (is_wanted(argc, argv, "attention")) {
            bench_attention(k, level);
        }
        if (is_wanted(argc, argv, "rows")) {
            bench_rows(k);
        }
    }
    return 0;
}
