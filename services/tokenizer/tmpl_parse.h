/* SPDX-License-Identifier: MIT */
/* Jinja source to a tree. Everything that can be known to be unsupported is refused here, with its line:
 * tags, filters, tests, methods and functions that the engine does not have.
 *
 * Children of a node, by kind (… = a list chained by next):
 *   DATA text | PRINT a | SET names… a | SET_BLOCK names b… | GROUP b…
 *   IF a b… c… (the else part; an elif is an IF there)
 *   FOR names… a(items) b…(body) c…(else) d(condition) | BREAK | CONTINUE
 *   MACRO name names…(parameters, a = default) b…
 *   LITERAL literal | NAME name | LIST a… | TUPLE a… | DICT a…(key, value, key, ...)
 *   ATTR a name | INDEX a b | SLICE a b(from) c(to) d(step)
 *   CALL a(function) b…(arguments; a named one is ARG name a) | METHOD a callee b…
 *   FILTER a callee b… | TEST a callee b… (negated if op is '!')
 *   NOT a | MINUS a | PLUS a | AND a b | OR a b | COND a b(else) c(condition)
 *   BINARY op a b | CONCAT a b | COMPARE a b…(op in each) */
#ifndef HALO_TOKENIZER_TMPL_PARSE_H
#define HALO_TOKENIZER_TMPL_PARSE_H

#include "services/tokenizer/tmpl_call.h"
#include "services/tokenizer/tmpl_value.h"

enum tmpl_node_kind {
    TMPL_N_DATA,
    TMPL_N_PRINT,
    TMPL_N_SET,
    TMPL_N_SET_BLOCK,
    TMPL_N_GROUP,
    TMPL_N_IF,
    TMPL_N_FOR,
    TMPL_N_BREAK,
    TMPL_N_CONTINUE,
    TMPL_N_MACRO,
    TMPL_N_LITERAL,
    TMPL_N_NAME,
    TMPL_N_LIST,
    TMPL_N_TUPLE,
    TMPL_N_DICT,
    TMPL_N_ATTR,
    TMPL_N_INDEX,
    TMPL_N_SLICE,
    TMPL_N_CALL,
    TMPL_N_METHOD,
    TMPL_N_ARG,
    TMPL_N_FILTER,
    TMPL_N_TEST,
    TMPL_N_NOT,
    TMPL_N_MINUS,
    TMPL_N_PLUS,
    TMPL_N_AND,
    TMPL_N_OR,
    TMPL_N_COND,
    TMPL_N_BINARY,
    TMPL_N_CONCAT,
    TMPL_N_COMPARE,
};

/* Operators are their characters; those of two are here. */
enum tmpl_op {
    TMPL_OP_FLOOR = 256, /* // */
    TMPL_OP_POWER,
    TMPL_OP_EQUAL,
    TMPL_OP_NOT_EQUAL,
    TMPL_OP_AT_LEAST,
    TMPL_OP_AT_MOST,
    TMPL_OP_IN,
    TMPL_OP_NOT_IN,
};

struct tmpl_node {
    enum tmpl_node_kind kind;
    int op;
    uint32_t line;
    uint32_t height; /* of the tree below */
    struct tmpl_node *next;
    struct tmpl_node *a;
    struct tmpl_node *b;
    struct tmpl_node *c;
    struct tmpl_node *d;
    struct tmpl_node *names;
    const char *name; /* interned: equal names are equal pointers */
    const struct tmpl_callee *callee;
    struct tmpl_value literal;
};

struct tmpl_name {
    const char *name;
    struct tmpl_name *next;
};

struct tmpl_tree {
    struct tmpl_node *body;
    struct tmpl_name *names; /* all that occur */
};

enum {
    TMPL_MAX_HEIGHT = 400, /* of the tree, so that walking it cannot exhaust the stack */
    TMPL_MAX_STATEMENTS = 64, /* nested tags */
};

/* Borrows `source` for the life of the tree, which lies in the arena of ctx. Errors are noted in ctx
 * (ERR_TEMPLATE, ERR_UNSUPPORTED, ERR_DEPTH, ERR_TOO_LARGE); returns false then. */
bool tmpl_parse(struct tmpl_ctx *ctx, struct str source, struct tmpl_tree *ret_tree);

/* The interned form of a name, or NULL if it does not occur in the template. */
const char *tmpl_tree_name(const struct tmpl_tree *tree, struct str name);

#endif
