/* SPDX-License-Identifier: MIT */
/* Error codes. A function that can fail returns enum err; ERR_OK is 0. Codes of errno, nng and
 * other libraries are converted where they arise. */
#ifndef HALO_COMMON_ERR_H
#define HALO_COMMON_ERR_H

#include <stdbool.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
#define ERR(name, number, http, retry, text) name = number,
#include "common/err.def"
#undef ERR
};

/* "ERR_FULL" */
const char *err_name(enum err e);

/* "the queue is full" */
const char *err_text(enum err e);

/* HTTP status that a client of the gateway gets. */
int err_http_status(enum err e);

/* Whether the same request may succeed later. */
bool err_is_retryable(enum err e);

/* A number from the wire; an unknown one becomes ERR_INTERNAL. */
enum err err_from_number(uint32_t number);

/* The nearest code for an errno value; never ERR_OK. */
enum err err_from_errno(int errnum);

#endif
