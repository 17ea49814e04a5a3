/* SPDX-License-Identifier: MIT */
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"

/* p, of n * size bytes; ends the process without it. */
static void *allocated(void *p, size_t n, size_t size)
{
    if (p != NULL)
        return p;
    log_error("out-of-memory", U("n", n), U("bytes_each", size),
              S("do", "give this process more memory, or lower its limits"));
    abort();
}

void *mem_zalloc(size_t n, size_t size)
{
    return allocated(FAULT_HITS(no_memory) ? NULL : calloc(n != 0 ? n : 1, size), n, size);
}

void *mem_resize(void *take_p, size_t n, size_t size)
{
    return allocated(reallocarray(take_p, n != 0 ? n : 1, size), n, size);
}

char *mem_strndup(const char *s, size_t len)
{
    char *p = mem_zalloc(len + 1, 1);
    if (len > 0)
        memcpy(p, s, len);
    return p;
}

void mem_free_const(const void *p)
{
    union {
        const void *in;
        void *out;
    } u = {.in = p};
    free(u.out);
}

void mem_auto_free(void *pointer_variable)
{
    void *p;
    memcpy(&p, pointer_variable, sizeof p);
    free(p);
}
