/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/backend_hip.h"
#include "services/engine/bench_model.h"
#include "tests/gpu/driver.h"

enum {
    N_SEQS = 9,
    SEQ_TOKENS = 300, /* more than a segment of attention */
    SEQ_BLOCKS = (SEQ_TOKENS + KV_BLOCK - 1) / KV_BLOCK,
    N_BLOCKS = N_SEQS * SEQ_BLOCKS,
    MAX_ROWS = 300,
    MAX_LOGITS = N_SEQS * 2,
    TINY_TOKENS = 40, /* of a sequence of the tiny model: it may run on the stand-in */
};

struct pair {
    struct backend *cpu, *gpu;
    uint32_t n_vocab;
    uint32_t n_tokens; /* of a sequence */
    uint32_t tokens[N_SEQS][SEQ_TOKENS];
    uint32_t blocks[N_SEQS][SEQ_BLOCKS];
    uint32_t pos[N_SEQS];
    uint64_t random;
    uint32_t n_rows; /* of logits compared */
};

static uint32_t random_below(struct pair *p, uint32_t n)
{
    p->random = p->random * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(p->random >> 33) % n;
}

/* Both compute the items; false if a logit differs. */
static bool step(struct pair *p, const struct backend_item *items, uint32_t n)
{
    struct backend_item a[N_SEQS];
    struct backend_item b[N_SEQS];
    memcpy(a, items, n * sizeof *items);
    memcpy(b, items, n * sizeof *items);
    if (backend_step(p->cpu, a, n) || backend_step(p->gpu, b, n)) {
        (void)printf("a step failed\n");
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < items[i].n_logits; k++) {
            const float *want = a[i].got[k].values;
            const float *got = b[i].got[k].values;
            uint32_t v = 0;
            while (v < p->n_vocab && memcmp(&want[v], &got[v], sizeof *want) == 0)
                v++;
            if (v < p->n_vocab) {
                (void)printf("DIFFERS: item %u of %u (%u tokens from %u), row %u, id %u: %a, the "
                             "CPU has %a\n",
                             i, n, items[i].n_tokens, items[i].pos0, k, v, (double)got[v],
                             (double)want[v]);
                return false;
            }
            p->n_rows++;
        }
    }
    return true;
}

static struct backend_item item_of(const struct pair *p, uint32_t s, uint32_t n, uint32_t n_logits)
{
    return (struct backend_item){.tokens = p->tokens[s] + p->pos[s],
                                 .n_tokens = n,
                                 .pos0 = p->pos[s],
                                 .blocks = p->blocks[s],
                                 .n_logits = n_logits};
}

/* One step of some tokens of every sequence that has any left: mostly one each, or parts of prompts. */
static bool step_together(struct pair *p, uint32_t most)
{
    struct backend_item items[N_SEQS];
    uint32_t n = 0;
    uint32_t n_rows = 0;
    for (uint32_t s = 0; s < N_SEQS; s++) {
        uint32_t left = p->n_tokens - p->pos[s];
        uint32_t take = 1 + random_below(p, most);
        take = take < left ? take : left;
        if (take == 0 || n_rows + take > MAX_ROWS)
            continue;
        n_rows += take;
        items[n++] = item_of(p, s, take, take > 1 ? 1 + random_below(p, 2) : 1);
        p->pos[s] += take;
    }
    return step(p, items, n);
}

static bool run_all(struct pair *p)
{
    /* One sequence alone: a long chunk, short ones, single tokens. */
    static const uint32_t CHUNKS[] = {257, 17, 16, 1, 1, 2, 3};
    for (size_t i = 0; i < sizeof CHUNKS / sizeof CHUNKS[0]; i++) {
        uint32_t left = p->n_tokens - p->pos[0];
        uint32_t n = CHUNKS[i] < left ? CHUNKS[i] : left;
        struct backend_item item = item_of(p, 0, n, n < 2 ? n : 2);
        if (n == 0)
            break;
        p->pos[0] += n;
        if (!step(p, &item, 1))
            return false;
    }
    p->pos[0] = 0; /* and once more, over what lies there */
    static const uint32_t MOST[] = {30, 9, 1, 1, 1, 60, 1};
    for (size_t i = 0; i < sizeof MOST / sizeof MOST[0]; i++) {
        if (!step_together(p, p->n_tokens < SEQ_TOKENS ? MOST[i] / 8 + 1 : MOST[i]))
            return false;
    }
    return true;
}

static void fill(struct pair *p, const struct model *m, bool is_tiny)
{
    p->n_vocab = m->config.n_vocab;
    p->n_tokens = is_tiny ? TINY_TOKENS : SEQ_TOKENS;
    for (uint32_t s = 0; s < N_SEQS; s++) {
        for (uint32_t i = 0; i < SEQ_TOKENS; i++)
            p->tokens[s][i] = random_below(p, p->n_vocab);
        for (uint32_t i = 0; i < SEQ_BLOCKS; i++)
            p->blocks[s][i] = (s + i * N_SEQS) * 7 % N_BLOCKS; /* N_BLOCKS is no multiple of 7 */
    }
}

_Static_assert(N_BLOCKS % 7 != 0, "blocks of sequences differ");

static bool open_both(struct pair *p, struct hip_weights *w, const struct model *m,
                      enum kv_type kv_type, char *why, size_t cap_why)
{
    long n_threads = sysconf(_SC_NPROCESSORS_ONLN);
    const struct backend_cpu_config cpu = {
        .model = m,
        .kernels = kernels_get(kernels_best()),
        .n_threads = n_threads < 32 ? (uint32_t)n_threads : 32,
        .kv_type = kv_type,
        .n_blocks = N_BLOCKS,
        .max_rows = MAX_ROWS,
        .max_logits = MAX_LOGITS,
    };
    const struct backend_hip_config gpu = {
        .weights = w,
        .model = m,
        .kv_type = kv_type,
        .n_blocks = N_BLOCKS,
        .max_items = N_SEQS,
        .max_rows = MAX_ROWS,
        .max_logits = MAX_LOGITS,
    };
    (void)snprintf(why, cap_why, "too little memory for the CPU's side");
    return backend_cpu_new(&cpu, &p->cpu) == ERR_OK &&
           backend_hip_new(&gpu, why, cap_why, &p->gpu) == ERR_OK;
}

bool driver_check_bits(struct hip_device *d, const char *shape, const char *packing,
                       enum kv_type kv_type)
{
    char why[400] = "out of memory";
    struct bench_model m = {0};
    struct hip_weights *w = NULL;
    struct pair *p = calloc(1, sizeof *p);
    uint64_t t0 = clock_now_ms();
    (void)printf("bits: %s %s, cache in %s: ", shape, packing, kv_type_name(kv_type));
    (void)fflush(stdout);
    bool is_open = p != NULL &&
                   !bench_model_make(&m, shape, packing, SEQ_TOKENS, why, sizeof why) &&
                   !hip_weights_new(d, m.model, why, sizeof why, &w) &&
                   open_both(p, w, m.model, kv_type, why, sizeof why);
    bool is_good = false;
    if (is_open) {
        fill(p, m.model, strcmp(shape, "tiny") == 0);
        is_good = run_all(p);
    } else {
        (void)printf("FAILED: %s\n", why);
    }
    if (is_good)
        (void)printf("%u rows of %u logits the same (%llu ms)\n", p->n_rows, p->n_vocab,
                     (unsigned long long)(clock_now_ms() - t0));
    (void)fflush(stdout);
    if (p != NULL) {
        backend_free(p->cpu);
        backend_free(p->gpu);
    }
    free(p);
    hip_weights_free(w);
    bench_model_fini(&m);
    return is_good;
}
