/* SPDX-License-Identifier: MIT */
/* Fields: the table of every request field (fields.def) and its rules. A field is honoured, accepted
 * with the values that change nothing, accepted as a label, or refused; an unknown one is refused. */
#ifndef HALO_GATEWAY_FIELDS_H
#define HALO_GATEWAY_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "services/gateway/errors.h"
#include "services/gateway/request.h"

enum field_policy {
    FIELD_HONOURED,
    FIELD_NEUTRAL, /* only the listed values, which change nothing */
    FIELD_LABEL, /* says something about the request that the reply does not depend on */
    FIELD_REFUSED,
};

enum field_type {
    FIELD_ANY,
    FIELD_BOOL,
    FIELD_INTEGER,
    FIELD_NUMBER,
    FIELD_STRING,
    FIELD_ARRAY,
    FIELD_OBJECT,
};

struct field {
    const char *name;
    unsigned endpoints; /* set of enum endpoint */
    enum field_policy policy;
    enum field_type type;
    double min; /* of a number, or of the length of a string or array */
    double max;
    size_t offset; /* of the member in struct request, for plain values */
    bool (*set)(struct request *r, const struct field *f, json_t *v, struct api_error *e);
    const char *values; /* FIELD_NEUTRAL: JSON array of them */
    const char *doc;
};

size_t fields_count(void);
const struct field *fields_at(size_t i);

/* Applies the table to all members of a body. Members that are null count as absent. */
bool fields_apply(struct request *r, json_t *body, struct api_error *ret_error);

/* Checks v against type and range; `param` names it in the error. */
bool fields_check(const struct field *f, const char *param, const json_t *v, struct api_error *e);

/* Whether v is one of the values in a JSON array; numbers are equal if their values are. */
bool fields_is_one_of(const char *values, const json_t *v);

/* Appends the table as JSON lines. */
void fields_print(struct buf *out);

#endif
