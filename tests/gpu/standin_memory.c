/* SPDX-License-Identifier: MIT */
#include "tests/gpu/standin_memory.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 256, POISON = 0xa5 };

struct block {
    struct block *next;
    enum standin_place place;
    size_t bytes;
    uint8_t *data; /* GUARD bytes before and behind it are poison, too */
};

static struct block *all;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void standin_die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fputs("standin: ", stderr);
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    va_end(args);
    abort();
}

static const char *name_of(enum standin_place place)
{
    return place == STANDIN_DEVICE ? "device memory" : "pinned host memory";
}

void *standin_memory_new(enum standin_place place, size_t bytes)
{
    struct block *b = malloc(sizeof *b);
    uint8_t *data = aligned_alloc(GUARD, (bytes + GUARD - 1) / GUARD * GUARD + (size_t)2 * GUARD);
    if (b == NULL || data == NULL) {
        free(b);
        free(data);
        return NULL;
    }
    memset(data, POISON, bytes + (size_t)2 * GUARD);
    *b = (struct block){.place = place, .bytes = bytes, .data = data + GUARD};
    (void)pthread_mutex_lock(&mutex);
    b->next = all;
    all = b;
    (void)pthread_mutex_unlock(&mutex);
    return b->data;
}

static void check_guards(const struct block *b, const char *when)
{
    for (size_t i = 0; i < GUARD; i++) {
        if (b->data[i - GUARD] != POISON || b->data[b->bytes + i] != POISON)
            standin_die("%s: written outside of %zu bytes of %s", when, b->bytes,
                        name_of(b->place));
    }
}

void standin_memory_free(enum standin_place place, void *p)
{
    (void)pthread_mutex_lock(&mutex);
    struct block **at = &all;
    while (*at != NULL && ((*at)->data != p || (*at)->place != place))
        at = &(*at)->next;
    struct block *b = *at;
    if (b == NULL)
        standin_die("freed what is no %s", name_of(place));
    *at = b->next;
    (void)pthread_mutex_unlock(&mutex);
    check_guards(b, "free");
    free(b->data - GUARD);
    free(b);
}

void standin_memory_check(enum standin_place place, const void *p, size_t bytes, const char *what)
{
    uintptr_t from = (uintptr_t)p;
    bool is_inside = false;
    (void)pthread_mutex_lock(&mutex);
    for (const struct block *b = all; b != NULL && !is_inside; b = b->next) {
        uintptr_t at = (uintptr_t)b->data;
        is_inside = b->place == place && from >= at && from - at <= b->bytes &&
                    bytes <= b->bytes - (from - at);
    }
    (void)pthread_mutex_unlock(&mutex);
    if (!is_inside)
        standin_die("%s: %zu bytes that are not within %s", what, bytes, name_of(place));
}

void standin_memory_check_guards(const char *when)
{
    (void)pthread_mutex_lock(&mutex);
    for (const struct block *b = all; b != NULL; b = b->next)
        check_guards(b, when);
    (void)pthread_mutex_unlock(&mutex);
}

size_t standin_memory_used(enum standin_place place)
{
    size_t used = 0;
    (void)pthread_mutex_lock(&mutex);
    for (const struct block *b = all; b != NULL; b = b->next)
        used += b->place == place ? b->bytes : 0;
    (void)pthread_mutex_unlock(&mutex);
    return used;
}

size_t standin_memory_n_live(void)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&mutex);
    for (const struct block *b = all; b != NULL; b = b->next)
        n++;
    (void)pthread_mutex_unlock(&mutex);
    return n;
}
