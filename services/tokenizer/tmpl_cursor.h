/* SPDX-License-Identifier: MIT */
/* Where the parser stands in a template's tokens, and the making of nodes. What tmpl_expr.c and
 * tmpl_parse.c share; errors are noted in ctx and make all further steps idle. */
#ifndef HALO_TOKENIZER_TMPL_CURSOR_H
#define HALO_TOKENIZER_TMPL_CURSOR_H

#include "services/tokenizer/tmpl_lex.h"
#include "services/tokenizer/tmpl_parse.h"

struct tmpl_cursor {
    struct tmpl_ctx *ctx;
    const struct tmpl_token *t;
    struct tmpl_tree *tree;
    size_t depth; /* of expressions that call themselves */
    size_t n_open_tags;
    size_t n_open_loops;
};

/* A list of nodes that is being built; zeros are an empty one. */
struct tmpl_chain {
    struct tmpl_node *first;
    struct tmpl_node **end;
};

bool tmpl_cursor_is_ok(const struct tmpl_cursor *p);

/* Notes "what at 'token'" with its line. Always NULL. */
struct tmpl_node *tmpl_cursor_fail(struct tmpl_cursor *p, enum err e, const char *what);

void tmpl_cursor_next(struct tmpl_cursor *p);
bool tmpl_cursor_at_op(const struct tmpl_cursor *p, const char *op);
bool tmpl_cursor_at_name(const struct tmpl_cursor *p, const char *name);

/* Goes on if the token is this one; returns whether it was. */
bool tmpl_cursor_take_op(struct tmpl_cursor *p, const char *op);
bool tmpl_cursor_take_name(struct tmpl_cursor *p, const char *name);

/* Goes on if the token is this one (op has one character); otherwise that is an error. */
void tmpl_cursor_expect_op(struct tmpl_cursor *p, const char *op);
void tmpl_cursor_expect_block_end(struct tmpl_cursor *p);

/* An empty node with the line of the token; NULL when memory is exhausted. */
struct tmpl_node *tmpl_cursor_node(struct tmpl_cursor *p, enum tmpl_node_kind kind);

/* Call it when all children are in place: checks the height. Returns n. */
struct tmpl_node *tmpl_cursor_finish(struct tmpl_cursor *p, struct tmpl_node *n);

/* Appends n, which may be NULL. */
void tmpl_cursor_chain(struct tmpl_chain *c, struct tmpl_node *n);

/* The one copy of a name; never NULL. */
const char *tmpl_cursor_intern(struct tmpl_cursor *p, struct str name);

#endif
