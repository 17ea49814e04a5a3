/* SPDX-License-Identifier: MIT */
/* Body: a request body as JSON, with limits and with errors that name the place. */
#ifndef HALO_GATEWAY_BODY_H
#define HALO_GATEWAY_BODY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/str.h"
#include "services/gateway/errors.h"

enum {
    BODY_DEPTH_MAX = 64,
    BODY_CONTAINERS_MAX = 65536, /* jansson takes a hundred times the bytes of an empty one */
};

/* Parses one JSON object of at most max_bytes. Nesting beyond BODY_DEPTH_MAX, more than
 * BODY_CONTAINERS_MAX arrays and objects, a key given twice, bytes that are not UTF-8 and U+0000 are
 * refused. NULL: *ret_error is set. */
json_t *body_parse(struct str text, uint64_t max_bytes, struct api_error *ret_error);

/* "a string", "a number", "null", ... */
const char *body_type_name(const json_t *v);

#endif
