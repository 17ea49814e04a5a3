/* SPDX-License-Identifier: MIT */
#include "common/map.h"

#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"

enum { FIRST_CAP = 16 };

struct map_slot {
    uint64_t key;
    void *value; /* NULL: the slot is free */
};

/* Two rounds of multiply and fold: every bit of the key reaches the low bits. */
static size_t home_of(const struct map *m, uint64_t key)
{
    uint64_t h = key ^ m->salt;
    h *= UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 32;
    h *= UINT64_C(0xd1342543de82ef95);
    h ^= h >> 29;
    return (size_t)h & (m->cap - 1);
}

/* The slot that holds the key, or the free one where it belongs. */
static struct map_slot *find(const struct map *m, uint64_t key)
{
    size_t i = home_of(m, key);
    while (m->slots[i].value != NULL && m->slots[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

void map_fini(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

void *map_get(const struct map *m, uint64_t key)
{
    return m->cap > 0 ? find(m, key)->value : NULL;
}

static void grow(struct map *m)
{
    struct map old = *m;
    m->cap = old.cap > 0 ? old.cap * 2 : FIRST_CAP;
    m->slots = mem_zalloc(m->cap, sizeof *m->slots);
    m->salt = clock_random_u64();
    for (size_t i = 0; i < old.cap; i++) {
        if (old.slots[i].value != NULL)
            *find(m, old.slots[i].key) = old.slots[i];
    }
    free(old.slots);
}

void map_put(struct map *m, uint64_t key, void *value)
{
    ASSERT(value != NULL);
    if (m->n >= m->cap / 4 * 3)
        grow(m);
    struct map_slot *s = find(m, key);
    m->n += s->value == NULL;
    *s = (struct map_slot){key, value};
}

void *map_remove(struct map *m, uint64_t key)
{
    if (m->cap == 0)
        return NULL;
    struct map_slot *s = find(m, key);
    void *value = s->value;
    if (value == NULL)
        return NULL;
    m->n--;
    /* Close the gap: an entry may move back into it unless its home lies behind the gap. */
    size_t mask = m->cap - 1;
    size_t gap = (size_t)(s - m->slots);
    for (size_t i = (gap + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
        size_t home = home_of(m, m->slots[i].key);
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            m->slots[gap] = m->slots[i];
            gap = i;
        }
    }
    m->slots[gap].value = NULL;
    return value;
}

bool map_next(const struct map *m, size_t *cursor, uint64_t *ret_key, void **ret_value)
{
    for (; *cursor < m->cap; (*cursor)++) {
        const struct map_slot *s = &m->slots[*cursor];
        if (s->value != NULL) {
            *ret_key = s->key;
            *ret_value = s->value;
            (*cursor)++;
            return true;
        }
    }
    return false;
}
