/* SPDX-License-Identifier: MIT */
/* Values of the template engine, with the meaning that Python gives them, and the state of one run.
 *
 * Texts know where each of their bytes came from: from the template (its author is trusted: the model
 * file) or from the request. Every operation carries the origins along, so that a control token is later
 * recognised only where the template itself wrote all of it (services/tokenizer/encode.h).
 *
 * Values are immutable but for the members of a namespace. All memory is the arena's. Errors are sticky:
 * the first one is kept, functions then return undefined, and the caller looks at ctx->err where a loop
 * must end. One run belongs to one thread. */
#ifndef HALO_TOKENIZER_TMPL_VALUE_H
#define HALO_TOKENIZER_TMPL_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/str.h"

enum tmpl_origin {
    TMPL_FROM_REQUEST = 0,
    TMPL_FROM_TEMPLATE = 1,
    TMPL_FROM_OPEN_MESSAGE = 2, /* the content of the message that the reply continues */
};

enum tmpl_kind {
    TMPL_UNDEFINED,
    TMPL_NONE,
    TMPL_BOOL,
    TMPL_INT,
    TMPL_FLOAT,
    TMPL_TEXT,
    TMPL_LIST,
    TMPL_MAP,
    TMPL_NAMESPACE,
    TMPL_LOOP,
    TMPL_MACRO,
    TMPL_FUNCTION, /* built in, or a method that was named but not called */
};

struct tmpl_text {
    const char *ptr; /* UTF-8 */
    size_t len;
    const uint8_t *origins; /* one per byte; NULL: all are `origin` */
    uint8_t origin;
};

struct tmpl_list;
struct tmpl_map;
struct tmpl_loop;
struct tmpl_node;

struct tmpl_value {
    enum tmpl_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const struct tmpl_text *text;
        const struct tmpl_list *list;
        struct tmpl_map *map; /* TMPL_MAP and TMPL_NAMESPACE */
        const struct tmpl_loop *loop;
        const struct tmpl_node *macro;
        const char *name; /* TMPL_UNDEFINED: what was not found, or NULL */
    };
};

struct tmpl_list {
    size_t n;
    struct tmpl_value *v;
    bool is_tuple;
    bool is_lazy; /* stands for a Python generator: true even when empty */
};

struct tmpl_entry {
    struct tmpl_value key;
    struct tmpl_value value;
};

struct tmpl_map {
    size_t n;
    size_t cap;
    struct tmpl_entry *v; /* in order of insertion */
};

/* What the name `loop` stands for in the body of a for. */
struct tmpl_loop {
    const struct tmpl_list *items;
    size_t at;
    size_t depth0;
};

/* A run, or a parse: memory, limits and the first error. */
struct tmpl_ctx {
    struct arena arena;
    uint64_t steps_left;
    size_t depth; /* of evaluation */
    size_t nesting; /* of the values that are being looked at */
    uint32_t line; /* of the template, for messages */
    enum err err;
    char *why;
    size_t cap_why;
};

enum {
    TMPL_MAX_NESTING = 100, /* of lists and maps */
    TMPL_MAX_RANGE = 100000,
};

/* Notes the first error and "line N: " with the message. Always returns undefined. */
struct tmpl_value tmpl_fail(struct tmpl_ctx *ctx, enum err e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As arena_alloc; notes ERR_TOO_LARGE and gives NULL when memory or the cap is exhausted. Each
 * call costs steps in proportion to its size. */
void *tmpl_alloc(struct tmpl_ctx *ctx, size_t n, size_t size);

/* Takes n steps off the budget; notes ERR_TOO_LARGE when it is used up. False after any error. */
bool tmpl_spend(struct tmpl_ctx *ctx, uint64_t n);

/* ---- making values ----------------------------------------------------------------------------- */

struct tmpl_value tmpl_none(void);
struct tmpl_value tmpl_undefined(const char *name);
struct tmpl_value tmpl_bool(bool b);
struct tmpl_value tmpl_int(int64_t i);
struct tmpl_value tmpl_real(double d);

/* Borrows the bytes for the life of the run. */
struct tmpl_value tmpl_text(struct tmpl_ctx *ctx, struct str s, enum tmpl_origin origin);

/* The part [from, to) of a text. */
struct tmpl_value tmpl_text_part(struct tmpl_ctx *ctx, const struct tmpl_text *t, size_t from,
                                 size_t to);

/* Texts one after the other. */
struct tmpl_value tmpl_text_join(struct tmpl_ctx *ctx, const struct tmpl_text *const *parts,
                                 size_t n);

/* Room for n parts, or NULL. */
const struct tmpl_text **tmpl_text_parts(struct tmpl_ctx *ctx, size_t n);

/* Copies what was collected: one origin for each byte of the text. */
struct tmpl_value tmpl_text_copy(struct tmpl_ctx *ctx, struct str text, const uint8_t *origins);

/* A list of n undefined values to fill in, or NULL. */
struct tmpl_list *tmpl_list_new(struct tmpl_ctx *ctx, size_t n);
struct tmpl_value tmpl_list(const struct tmpl_list *list);

struct tmpl_map *tmpl_map_new(struct tmpl_ctx *ctx);
void tmpl_map_set(struct tmpl_ctx *ctx, struct tmpl_map *map, struct tmpl_value key,
                  struct tmpl_value value);

/* A copy of a JSON value; its texts are borrowed from `json`. */
struct tmpl_value tmpl_from_json(struct tmpl_ctx *ctx, const json_t *json, enum tmpl_origin origin);

/* ---- looking at values ------------------------------------------------------------------------- */

bool tmpl_is_true(const struct tmpl_value *v);
bool tmpl_is_text(const struct tmpl_value *v, const char *s);
struct str tmpl_str(const struct tmpl_value *text);

/* "string", "list" ... for messages. */
const char *tmpl_kind_name(const struct tmpl_value *v);

bool tmpl_equal(struct tmpl_ctx *ctx, const struct tmpl_value *a, const struct tmpl_value *b);

/* -1, 0, 1; notes ERR_TEMPLATE when there is no order between the two. */
int tmpl_compare(struct tmpl_ctx *ctx, const struct tmpl_value *a, const struct tmpl_value *b);

/* NULL when there is no such key. */
const struct tmpl_value *tmpl_map_get(const struct tmpl_map *map, struct str key);
const struct tmpl_value *tmpl_map_find(struct tmpl_ctx *ctx, const struct tmpl_map *map,
                                       const struct tmpl_value *key);

/* Number of characters, elements or keys; notes ERR_TEMPLATE for what has none. */
size_t tmpl_length(struct tmpl_ctx *ctx, const struct tmpl_value *v);

/* What a for loop over v sees: characters, elements or keys. Never NULL; empty after an error. */
const struct tmpl_list *tmpl_items(struct tmpl_ctx *ctx, const struct tmpl_value *v);

/* v[index], undefined when there is none; negative indices count from the end. */
struct tmpl_value tmpl_index(struct tmpl_ctx *ctx, const struct tmpl_value *v,
                             const struct tmpl_value *index);

/* v[from:to:step], any of them TMPL_NONE. */
struct tmpl_value tmpl_slice(struct tmpl_ctx *ctx, const struct tmpl_value *v,
                             const struct tmpl_value *from, const struct tmpl_value *to,
                             const struct tmpl_value *step);

/* Number of bytes of the white space (by Python's str.isspace) that begins or ends s; 0 if none does. */
size_t tmpl_space_at(struct str s);
size_t tmpl_space_before_end(struct str s);

#endif
