/* SPDX-License-Identifier: MIT */
/* parity_logits MODEL ISA CACHE: reads token ids (u32) from stdin and writes the logits after each of
 * them (f32, [ids][vocab]) to stdout. ISA is a level of kernels.h or "best", CACHE "f16" or "int8".
 * Exit status 2: no such level here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/kv.h"

enum { MAX_IDS = 4096 };

static int fail(const char *what)
{
    (void)fprintf(stderr, "parity_logits: %s\n", what);
    return 1;
}

static int run(const struct model *m, enum isa isa, enum kv_type kv_type, const uint32_t *ids,
               uint32_t n)
{
    uint32_t blocks[MAX_IDS / KV_BLOCK];
    uint32_t n_blocks = (n + KV_BLOCK - 1) / KV_BLOCK;
    for (uint32_t i = 0; i < n_blocks; i++)
        blocks[i] = i;
    const struct backend_cpu_config config = {
        .model = m,
        .kernels = kernels_get(isa),
        .n_threads = 1,
        .kv_type = kv_type,
        .n_blocks = n_blocks,
        .max_rows = n,
        .max_logits = n,
    };
    struct backend *b = NULL;
    if (backend_cpu_new(&config, &b))
        return fail("no memory");
    struct backend_item item = {.tokens = ids, .n_tokens = n, .blocks = blocks, .n_logits = n};
    size_t n_logits = (size_t)n * m->config.n_vocab;
    bool is_done = !backend_step(b, &item, 1) &&
                   fwrite(item.got->values, sizeof *item.got->values, n_logits, stdout) == n_logits;
    backend_free(b);
    return is_done ? 0 : fail("the step or the output failed");
}

int main(int argc, char **argv)
{
    enum isa isa = kernels_best();
    if (argc != 4 || (strcmp(argv[2], "best") != 0 && !kernels_isa_parse(argv[2], &isa)))
        return fail("expected MODEL, ISA and CACHE");
    if (kernels_get(isa) == NULL)
        return 2;
    char why[300];
    struct model *m = NULL;
    if (model_open(argv[1], H1B_VERIFY_ALL, why, sizeof why, &m))
        return fail(why);
    uint32_t *ids = mem_zalloc(MAX_IDS, sizeof *ids);
    uint32_t n = (uint32_t)fread(ids, sizeof *ids, MAX_IDS, stdin);
    bool is_good = n > 0 && n <= m->config.n_ctx;
    for (uint32_t i = 0; i < n; i++)
        is_good = is_good && ids[i] < m->config.n_vocab;
    int status =
        is_good ? run(m, isa, kv_type_of(argv[3]), ids, n) : fail("expected ids of the vocabulary");
    free(ids);
    model_close(m);
    return status;
}
