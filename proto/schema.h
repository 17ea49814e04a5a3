/* SPDX-License-Identifier: MIT */
/* The field tables behind frames.h, for codec.c and document.c only. */
#ifndef HALO_PROTO_SCHEMA_H
#define HALO_PROTO_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frames.h"

enum field_type {
    FIELD_U32,
    FIELD_U64,
    FIELD_F32,
    FIELD_BOOL,
    FIELD_STR,
    FIELD_TEXT,
    FIELD_IDS,
    FIELD_STRS,
    FIELD_REC,
    FIELD_LIST,
};

struct schema;

struct field {
    const char *name;
    const char *doc;
    const struct schema *(*record)(void); /* FIELD_REC, FIELD_LIST */
    size_t offset;
    size_t offset_n; /* of the count: FIELD_IDS, FIELD_STRS, FIELD_LIST */
    size_t cap; /* most elements */
    enum field_type type;
    uint8_t key;
    uint8_t since;
    bool is_required;
};

struct schema {
    const char *name;
    const char *doc;
    const struct field *fields;
    size_t n_fields;
    size_t size; /* of the struct */
    uint32_t number; /* of a frame; 0 for a record */
};

/* The i-th frame or record in the order of frames.def; NULL past the end. */
const struct schema *schema_at(size_t i);

/* NULL if no frame has that number. */
const struct schema *schema_of_frame(uint32_t number);

#endif
