/* SPDX-License-Identifier: MIT */
#include "services/engine/selfcheck.h"

#include <math.h>

#include "services/engine/backend_cpu.h"

enum { N_TOKENS = 5 };

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

static enum err run_once(const struct model *m, const struct kernels *k, uint32_t n_threads,
                         uint64_t *ret_hash)
{
    const struct backend_cpu_config config = {
        .model = m,
        .kernels = k,
        .n_threads = n_threads,
        .n_blocks = 1,
        .max_rows = N_TOKENS,
        .max_logits = 1,
    };
    struct backend *b = NULL;
    enum err e = backend_cpu_new(&config, &b);
    if (e)
        return e;
    uint32_t n_vocab = m->config.n_vocab;
    const uint32_t tokens[N_TOKENS] = {0, n_vocab - 1, n_vocab / 2, n_vocab / 3, 1};
    struct backend_item item = {
        .tokens = tokens, .n_tokens = N_TOKENS, .blocks = &(uint32_t){0}, .n_logits = 1};
    item.n_tokens = m->config.n_ctx < N_TOKENS ? m->config.n_ctx : N_TOKENS;
    e = backend_step(b, &item, 1);
    if (!e)
        e = hash_logits(item.logits, n_vocab, ret_hash);
    backend_free(b);
    return e;
}

enum err selfcheck_run(const struct model *m, const struct kernels *k, uint32_t n_threads,
                       uint64_t *ret_hash)
{
    struct model one_layer = *m;
    one_layer.config.n_layers = 1;
    uint64_t expected = 0;
    uint64_t got = 0;
    enum err e = run_once(&one_layer, kernels_get(ISA_REF), n_threads, &expected);
    if (!e)
        e = run_once(&one_layer, k, n_threads, &got);
    if (e)
        return e;
    if (got != expected)
        return ERR_INTERNAL;
    *ret_hash = got;
    return ERR_OK;
}
