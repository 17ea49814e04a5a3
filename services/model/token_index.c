/* SPDX-License-Identifier: MIT */
#include "services/model/token_index.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a, then mixed: the low bits choose the slot. */
static size_t hash(struct str text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ (uint8_t)text.ptr[i]) * UINT64_C(0x100000001b3);
    return (size_t)(h ^ h >> 32);
}

/* The slot of this text or the free one where it belongs. */
static size_t slot_of(const struct token_index *x, struct str text)
{
    size_t i = hash(text) & x->mask;
    while (x->slots[i] != TOKEN_NONE && !str_eq(x->texts[x->slots[i]], text))
        i = (i + 1) & x->mask;
    return i;
}

enum err token_index_init(struct token_index *x, const struct str *texts, size_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    *x = (struct token_index){
        .texts = texts, .slots = malloc(size * sizeof *x->slots), .mask = size - 1};
    if (!x->slots)
        return ERR_NOMEM;
    memset(x->slots, 0xff, size * sizeof *x->slots);
    for (size_t id = 0; id < n; id++) {
        size_t slot = slot_of(x, texts[id]);
        if (x->slots[slot] == TOKEN_NONE)
            x->slots[slot] = (uint32_t)id;
    }
    return ERR_OK;
}

void token_index_fini(struct token_index *x)
{
    free(x->slots);
    *x = (struct token_index){0};
}

uint32_t token_index_find(const struct token_index *x, struct str text)
{
    return x->slots[slot_of(x, text)];
}
