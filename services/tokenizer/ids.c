/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/ids.h"

#include <stdlib.h>
#include <string.h>

enum err ids_reserve(struct ids *ids, size_t n_more)
{
    if (n_more <= ids->cap - ids->n)
        return ERR_OK;
    if (n_more > SIZE_MAX / 8 - ids->n)
        return ERR_NOMEM;
    size_t cap = ids->cap ? ids->cap : 64;
    while (cap < ids->n + n_more)
        cap *= 2;
    uint32_t *v = realloc(ids->v, cap * sizeof *v);
    if (!v)
        return ERR_NOMEM;
    ids->v = v;
    ids->cap = cap;
    return ERR_OK;
}

enum err ids_append(struct ids *ids, const uint32_t *v, size_t n)
{
    enum err e = ids_reserve(ids, n);
    if (e != ERR_OK)
        return e;
    if (n > 0)
        memcpy(ids->v + ids->n, v, n * sizeof *v);
    ids->n += n;
    return ERR_OK;
}

void ids_fini(struct ids *ids)
{
    free(ids->v);
    *ids = (struct ids){0};
}
