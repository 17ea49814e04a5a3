/* SPDX-License-Identifier: MIT */
#include "common/err.h"

#include <errno.h>
#include <stddef.h>

struct err_row {
    enum err code;
    int http;
    bool retry;
    const char *name;
    const char *text;
};

static const struct err_row ROWS[] = {
#define ERR(name, number, http, retry, text) {name, http, retry != 0, #name, text},
#include "common/err.def"
#undef ERR
};

static const struct err_row *row_of(enum err e)
{
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if (ROWS[i].code == e)
            return &ROWS[i];
    }
    return row_of(ERR_INTERNAL);
}

const char *err_name(enum err e)
{
    return row_of(e)->name;
}

const char *err_text(enum err e)
{
    return row_of(e)->text;
}

int err_http_status(enum err e)
{
    return row_of(e)->http;
}

bool err_is_retryable(enum err e)
{
    return row_of(e)->retry;
}

enum err err_from_number(uint32_t number)
{
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        if ((uint32_t)ROWS[i].code == number)
            return ROWS[i].code;
    }
    return ERR_INTERNAL;
}

enum err err_from_errno(int errnum)
{
    switch (errnum) {
    case ENOMEM:
        return ERR_NOMEM;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_PERMISSION;
    case EADDRINUSE:
    case EBUSY:
        return ERR_IN_USE;
    case EINVAL:
        return ERR_INVALID;
    case EAGAIN:
        return ERR_AGAIN;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EMSGSIZE:
    case ENAMETOOLONG:
        return ERR_TOO_LARGE;
    default:
        return ERR_IO;
    }
}
