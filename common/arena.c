/* SPDX-License-Identifier: MIT */
#include "common/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

enum { CHUNK_BYTES = 16384, ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap;
    size_t used;
    alignas(ALIGN) unsigned char bytes[];
};

static struct arena_chunk *chunk_new(size_t cap)
{
    struct arena_chunk *c = malloc(sizeof *c + cap);
    if (c != NULL) {
        c->next = NULL;
        c->cap = cap;
        c->used = 0;
    }
    return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size_t need = (size + ALIGN - 1) / ALIGN * ALIGN;
    if (a->cap_bytes != 0 && (need > a->cap_bytes || a->used_bytes > a->cap_bytes - need))
        return NULL;
    if (a->head == NULL || a->head->cap - a->head->used < need) {
        struct arena_chunk *c = chunk_new(need > CHUNK_BYTES ? need : CHUNK_BYTES);
        if (c == NULL)
            return NULL;
        c->next = a->head;
        a->head = c;
    }
    void *p = a->head->bytes + a->head->used;
    a->head->used += need;
    a->used_bytes += need;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return NULL;
    void *p = arena_alloc(a, n * size);
    if (p != NULL)
        memset(p, 0, n * size);
    return p;
}

char *arena_strdup(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.len + 1);
    if (p == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return p;
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *keep = NULL;
    while (a->head != NULL) {
        struct arena_chunk *next = a->head->next;
        if (next == NULL && a->head->cap == CHUNK_BYTES) {
            keep = a->head;
            keep->used = 0;
        } else {
            free(a->head);
        }
        a->head = next;
    }
    a->head = keep;
    a->used_bytes = 0;
}

void arena_fini(struct arena *a)
{
    while (a->head != NULL) {
        struct arena_chunk *next = a->head->next;
        free(a->head);
        a->head = next;
    }
    a->used_bytes = 0;
}
