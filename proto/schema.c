/* SPDX-License-Identifier: MIT */
/* Expands frames.def into field tables: one function for each frame and record, which returns its
 * table. Functions, because inside one the name T can stand for the struct at hand. */
#include "proto/schema.h"

#include "common/check.h"

#define REQ true
#define OPT false

#define FRAME(name, number, doc) static const struct schema *schema_##name(void);
#define RECORD(name, doc) static const struct schema *schema_##name(void);
#include "proto/frames.def"

#define TABLE(name, tag, frame_number, text)                                                       \
    static const struct schema *schema_##name(void)                                                \
    {                                                                                              \
        typedef struct tag T;                                                                      \
        enum { NUMBER = frame_number };                                                            \
        static const char DOC[] = text;                                                            \
        static const struct field FIELDS[] = {
#define FRAME(name, number, doc) TABLE(name, frame_##name, number, doc)
#define RECORD(name, doc) TABLE(name, rec_##name, 0, doc)
#define END(tag)                                                                                   \
    {                                                                                              \
        .name = NULL                                                                               \
    }                                                                                              \
    }                                                                                              \
    ;                                                                                              \
    static const struct schema TABLE_OF = {#tag,      DOC,   FIELDS, ARRAY_LEN(FIELDS) - 1,        \
                                           sizeof(T), NUMBER};                                     \
    return &TABLE_OF;                                                                              \
    }
#define SCALAR(kind, k, field_name, req, first, text)                                              \
    {.name = #field_name,                                                                          \
     .doc = text,                                                                                  \
     .offset = offsetof(T, field_name),                                                            \
     .type = kind,                                                                                 \
     .key = k,                                                                                     \
     .since = first,                                                                               \
     .is_required = req},
#define MANY(kind, k, field_name, rec, most, req, first, text)                                     \
    {.name = #field_name,                                                                          \
     .doc = text,                                                                                  \
     .record = rec,                                                                                \
     .offset = offsetof(T, field_name),                                                            \
     .offset_n = offsetof(T, n_##field_name),                                                      \
     .cap = most,                                                                                  \
     .type = kind,                                                                                 \
     .key = k,                                                                                     \
     .since = first,                                                                               \
     .is_required = req},
#define U32(key, name, req, since, doc) SCALAR(FIELD_U32, key, name, req, since, doc)
#define U64(key, name, req, since, doc) SCALAR(FIELD_U64, key, name, req, since, doc)
#define F32(key, name, req, since, doc) SCALAR(FIELD_F32, key, name, req, since, doc)
#define BOOL(key, name, req, since, doc) SCALAR(FIELD_BOOL, key, name, req, since, doc)
#define STR(key, name, req, since, doc) SCALAR(FIELD_STR, key, name, req, since, doc)
#define TEXT(key, name, req, since, doc) SCALAR(FIELD_TEXT, key, name, req, since, doc)
#define IDS(key, name, req, since, doc)                                                            \
    MANY(FIELD_IDS, key, name, NULL, FRAME_MAX_IDS, req, since, doc)
#define STRS(key, name, cap, since, doc) MANY(FIELD_STRS, key, name, NULL, cap, false, since, doc)
#define LIST(key, name, record, cap, since, doc)                                                   \
    MANY(FIELD_LIST, key, name, schema_##record, cap, false, since, doc)
#define REC(k, field_name, rec, req, first, text)                                                  \
    {.name = #field_name,                                                                          \
     .doc = text,                                                                                  \
     .record = schema_##rec,                                                                       \
     .offset = offsetof(T, field_name),                                                            \
     .type = FIELD_REC,                                                                            \
     .key = k,                                                                                     \
     .since = first,                                                                               \
     .is_required = req},
/* clang-format off */
#include "proto/frames.def"
/* clang-format on */

static const struct schema *(*const ALL[])(void) = {
#define FRAME(name, number, doc) schema_##name,
#define RECORD(name, doc) schema_##name,
#include "proto/frames.def"
};

const struct schema *schema_at(size_t i)
{
    return i < ARRAY_LEN(ALL) ? ALL[i]() : NULL;
}

const struct schema *schema_of_frame(uint32_t number)
{
    switch (number) {
#define FRAME(name, number, doc)                                                                   \
    case number:                                                                                   \
        return schema_##name();
#include "proto/frames.def"
    default:
        return NULL;
    }
}
