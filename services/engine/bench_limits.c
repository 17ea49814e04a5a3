/* SPDX-License-Identifier: MIT */
#include "services/engine/bench_limits.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum {
    CACHE_TIMES = 8,
    READ_LEAST_BYTES = 256 << 20,
    READ_MOST_BYTES = 1 << 30,
    READ_TASK_BYTES = 1 << 20,
    INT8_TASKS_PER_THREAD = 8,
    INT8_TURNS = 100000,
    INT8_CHAINS = 10, /* more than latency times rate of the instructions */
};

struct bench_limits {
    struct pool *pool;
    enum isa isa;
    uint8_t *buffer;
    size_t bytes;
};

static size_t buffer_bytes(void)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = cache > 0 ? (size_t)cache * CACHE_TIMES : 0;
    bytes = bytes > READ_LEAST_BYTES ? bytes : READ_LEAST_BYTES;
    bytes = bytes < READ_MOST_BYTES ? bytes : READ_MOST_BYTES;
    return bytes / READ_TASK_BYTES * READ_TASK_BYTES;
}

struct bench_limits *bench_limits_new(struct pool *pool, enum isa isa)
{
    struct bench_limits *l = mem_zalloc(1, sizeof *l);
    l->pool = pool;
    l->isa = isa;
    l->bytes = buffer_bytes();
    void *p = mmap(NULL, l->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT(p != MAP_FAILED);
    l->buffer = p;
    (void)madvise(p, l->bytes, MADV_HUGEPAGE);
    memset(p, 1, l->bytes);
    return l;
}

void bench_limits_free(struct bench_limits *l)
{
    if (l == NULL)
        return;
    (void)munmap(l->buffer, l->bytes);
    free(l);
}

uint64_t bench_limits_bytes(const struct bench_limits *l)
{
    return l->bytes;
}

/* ---- reading ---- */

typedef uint64_t vector __attribute__((vector_size(64)));

static void read_task(void *ctx, uint32_t i)
{
    const struct bench_limits *l = ctx;
    const vector *v = (const void *)(l->buffer + (size_t)i * READ_TASK_BYTES);
    vector sum[2] = {{0}, {0}};
    for (size_t k = 0; k < READ_TASK_BYTES / sizeof *v; k += 2) {
        sum[0] |= v[k];
        sum[1] |= v[k + 1];
    }
    sum[0] |= sum[1];
    __asm__ volatile("" : : "m"(sum[0]));
}

double bench_limits_read(struct bench_limits *l)
{
    uint64_t t0 = clock_now_ns();
    pool_run(l->pool, (uint32_t)(l->bytes / READ_TASK_BYTES), read_task, l);
    return (double)l->bytes / (double)(clock_now_ns() - t0) * 1e9;
}

/* ---- multiply-adds ---- */

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void int8_task_avx2(void *ctx, uint32_t i)
{
    (void)ctx;
    (void)i;
    __m256i sum[INT8_CHAINS];
    const __m256i ones = _mm256_set1_epi8(1);
    for (int k = 0; k < INT8_CHAINS; k++)
        sum[k] = _mm256_setzero_si256();
    for (int turn = 0; turn < INT8_TURNS; turn++) {
#pragma GCC unroll 10
        for (int k = 0; k < INT8_CHAINS; k++) {
            __m256i a = ones;
            __asm__ volatile("" : "+x"(a)); /* keeps the product inside the loop */
            sum[k] = _mm256_add_epi16(sum[k], _mm256_maddubs_epi16(a, ones));
        }
    }
    for (int k = 0; k < INT8_CHAINS; k++)
        __asm__ volatile("" : "+x"(sum[k]));
}

__attribute__((target("avx2,avxvnni"))) static void int8_task_avxvnni(void *ctx, uint32_t i)
{
    (void)ctx;
    (void)i;
    __m256i sum[INT8_CHAINS];
    const __m256i ones = _mm256_set1_epi8(1);
    for (int k = 0; k < INT8_CHAINS; k++)
        sum[k] = _mm256_setzero_si256();
    for (int turn = 0; turn < INT8_TURNS; turn++) {
#pragma GCC unroll 10
        for (int k = 0; k < INT8_CHAINS; k++)
            sum[k] = _mm256_dpbusd_avx_epi32(sum[k], ones, ones);
    }
    for (int k = 0; k < INT8_CHAINS; k++)
        __asm__ volatile("" : "+x"(sum[k]));
}

__attribute__((target("avx512f,avx512vnni"))) static void int8_task_avx512(void *ctx, uint32_t i)
{
    (void)ctx;
    (void)i;
    __m512i sum[INT8_CHAINS];
    const __m512i ones = _mm512_set1_epi32(0x01010101);
    for (int k = 0; k < INT8_CHAINS; k++)
        sum[k] = _mm512_setzero_si512();
    for (int turn = 0; turn < INT8_TURNS; turn++) {
#pragma GCC unroll 10
        for (int k = 0; k < INT8_CHAINS; k++)
            sum[k] = _mm512_dpbusd_epi32(sum[k], ones, ones);
    }
    for (int k = 0; k < INT8_CHAINS; k++)
        __asm__ volatile("" : "+v"(sum[k]));
}
#elif defined(__aarch64__)
#if defined(__clang__)
#define DOTPROD __attribute__((target("dotprod")))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

/* sdot in assembly, for clang 14 has the intrinsic only where a whole file may use it; and the chains
 * are equal, so a compiler that understood them would keep one. */
DOTPROD static void int8_task_neon(void *ctx, uint32_t i)
{
    (void)ctx;
    (void)i;
    int32x4_t sum[INT8_CHAINS];
    const int8x16_t ones = vdupq_n_s8(1);
    for (int k = 0; k < INT8_CHAINS; k++)
        sum[k] = vdupq_n_s32(0);
    for (int turn = 0; turn < INT8_TURNS; turn++) {
#pragma GCC unroll 10
        for (int k = 0; k < INT8_CHAINS; k++)
            __asm__ volatile("sdot %0.4s, %1.16b, %1.16b" : "+w"(sum[k]) : "w"(ones));
    }
}
#endif

double bench_limits_int8(struct bench_limits *l)
{
    void (*task)(void *ctx, uint32_t i) = NULL;
    uint32_t per_instruction = 0;
#if defined(__x86_64__)
    if (l->isa == ISA_AVX2) {
        task = int8_task_avx2;
        per_instruction = 32;
    } else if (l->isa == ISA_AVXVNNI) {
        task = int8_task_avxvnni;
        per_instruction = 32;
    } else if (l->isa == ISA_AVX512) {
        task = int8_task_avx512;
        per_instruction = 64;
    }
#elif defined(__aarch64__)
    if (l->isa == ISA_NEON) {
        task = int8_task_neon;
        per_instruction = 16;
    }
#endif
    if (task == NULL)
        return 0.0;
    uint32_t n_tasks = pool_n_threads(l->pool) * INT8_TASKS_PER_THREAD;
    uint64_t t0 = clock_now_ns();
    pool_run(l->pool, n_tasks, task, l);
    double n = (double)n_tasks * INT8_TURNS * INT8_CHAINS * per_instruction;
    return n / (double)(clock_now_ns() - t0) * 1e9;
}
