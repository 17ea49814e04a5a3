/* SPDX-License-Identifier: MIT */
/* Errors as a client sees them: HTTP status and {"error": {message, type, param, code}}. A message
 * says what happened, what was expected and what to do. */
#ifndef HALO_GATEWAY_ERRORS_H
#define HALO_GATEWAY_ERRORS_H

#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/str.h"

enum problem {
#define PROBLEM(name, http, type, code) PROBLEM_##name,
#include "services/gateway/errors.def"
#undef PROBLEM
};

struct api_error {
    int status; /* 0: no error */
    uint32_t retry_ms; /* for Retry-After and retry-after-ms; 0: neither */
    const char *type;
    char code[40];
    char param[120]; /* "" is null */
    char message[640];
};

/* param may be NULL. */
void error_set(struct api_error *e, enum problem p, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* What a process behind us reported; detail is its line for the client and may be empty. */
void error_from_err(struct api_error *e, enum err code, struct str detail);

/* {"error":{...}} */
void error_write(const struct api_error *e, struct buf *out);

#endif
