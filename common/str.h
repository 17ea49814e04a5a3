/* SPDX-License-Identifier: MIT */
/* A borrowed run of bytes: not NUL-terminated, valid as long as what it points into. */
#ifndef HALO_COMMON_STR_H
#define HALO_COMMON_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *ptr;
    size_t len;
};

/* A literal as struct str. */
#define STR_LIT(s) ((struct str){"" s, sizeof(s) - 1})

static inline struct str str_from(const char *cstr)
{
    return (struct str){cstr, cstr != NULL ? strlen(cstr) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool str_is(struct str a, const char *cstr)
{
    return str_eq(a, str_from(cstr));
}

#endif
