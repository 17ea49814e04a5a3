/* SPDX-License-Identifier: MIT */
#include "services/engine/selfcheck.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/fast_head.h"

enum { N_TOP = 40 };

static enum err hash_logits(const float *logits, uint32_t n, uint64_t *ret_hash)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(logits[i]))
            return ERR_INTERNAL;
        const unsigned char *bytes = (const unsigned char *)&logits[i];
        for (size_t b = 0; b < sizeof logits[i]; b++)
            h = (h ^ bytes[b]) * 0x100000001b3U;
    }
    *ret_hash = h;
    return ERR_OK;
}

/* Whether the largest logits, asked for alone, are those of the full head. */
static enum err check_tops(struct backend *b, struct backend_item *item, uint32_t n_vocab)
{
    static const struct backend_want WANTS[] = {
        {.kind = WANT_TOP, .n_top = 1},
        {.kind = WANT_TOP, .n_top = N_TOP},
        {.kind = WANT_NEAR, .reach = 1.0F},
        {.kind = WANT_DRAW, .noise = {.seed = 1, .scale = 1.0F}},
    };
    float *full = mem_zalloc(n_vocab, sizeof *full);
    memcpy(full, item->got->values, n_vocab * sizeof *full);
    enum err e = ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(WANTS) && !e; i++) {
        item->want = WANTS[i];
        e = backend_step(b, item, 1);
        if (!e && !fast_head_agrees(full, item->got, n_vocab, &WANTS[i]))
            e = ERR_INTERNAL;
    }
    free(full);
    return e;
}

static enum err open_cpu(const struct model *m, const struct kernels *k,
                         const struct selfcheck *how, struct backend **ret_backend)
{
    const struct backend_cpu_config config = {
        .model = m,
        .kernels = k,
        .n_threads = how->n_threads,
        .kv_type = how->kv_type,
        .n_blocks = 1,
        .max_rows = SELFCHECK_ROWS,
        .max_logits = 1,
        .has_fast_head = how->has_fast_head,
    };
    return backend_cpu_new(&config, ret_backend);
}

static enum err run_once(const struct model *m, const struct kernels *k,
                         const struct selfcheck *how, uint64_t *ret_hash)
{
    struct backend *b = NULL;
    enum err e = how->open != NULL ? how->open(how->ctx, m, &b) : open_cpu(m, k, how, &b);
    if (e)
        return e;
    uint32_t n_vocab = m->config.n_vocab;
    const uint32_t tokens[SELFCHECK_ROWS] = {0, n_vocab - 1, n_vocab / 2, n_vocab / 3, 1};
    struct backend_item item = {.tokens = tokens, .blocks = &(uint32_t){0}, .n_logits = 1};
    item.n_tokens = m->config.n_ctx < SELFCHECK_ROWS ? m->config.n_ctx : SELFCHECK_ROWS;
    e = backend_step(b, &item, 1);
    if (!e)
        e = hash_logits(item.got->values, n_vocab, ret_hash);
    if (!e && (how->has_fast_head || how->open != NULL))
        e = check_tops(b, &item, n_vocab);
    backend_free(b);
    return e;
}

enum err selfcheck_run(const struct model *m, const struct kernels *k, const struct selfcheck *how,
                       uint64_t *ret_hash)
{
    struct model one_layer = *m;
    one_layer.config.n_layers = 1;
    struct selfcheck by_reference = *how;
    by_reference.open = NULL;
    by_reference.has_fast_head = false; /* scalar packing of a large head would take long */
    uint64_t expected = 0;
    uint64_t got = 0;
    enum err e = run_once(&one_layer, kernels_get(ISA_REF), &by_reference, &expected);
    if (!e)
        e = run_once(&one_layer, k, how, &got);
    if (e)
        return e;
    if (got != expected)
        return ERR_INTERNAL;
    *ret_hash = got;
    return ERR_OK;
}
