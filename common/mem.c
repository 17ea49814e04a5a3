/* SPDX-License-Identifier: MIT */
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/fault.h"

void *mem_zalloc(size_t n, size_t size)
{
    void *p = FAULT_HITS(no_memory) ? NULL : calloc(n != 0 ? n : 1, size);
    ASSERT(p != NULL);
    return p;
}

void *mem_resize(void *take_p, size_t n, size_t size)
{
    void *p = reallocarray(take_p, n != 0 ? n : 1, size);
    ASSERT(p != NULL);
    return p;
}

char *mem_strndup(const char *s, size_t len)
{
    char *p = mem_zalloc(len + 1, 1);
    if (len > 0)
        memcpy(p, s, len);
    return p;
}

void mem_auto_free(void *pointer_variable)
{
    void *p;
    memcpy(&p, pointer_variable, sizeof p);
    free(p);
}
