/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_expr.h"

static struct tmpl_node *parse_unary(struct tmpl_cursor *p, bool with_filter);

/* ---- primary ----------------------------------------------------------------------- */

static struct tmpl_node *literal(struct tmpl_cursor *p, struct tmpl_value v)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_LITERAL);
    if (n)
        n->literal = v;
    return n;
}

/* Strings side by side are one. */
static struct tmpl_node *parse_string(struct tmpl_cursor *p)
{
    struct tmpl_node *n = literal(p, tmpl_text(p->ctx, p->t->text, TMPL_FROM_TEMPLATE));
    tmpl_cursor_next(p);
    while (tmpl_cursor_is_ok(p) && p->t->kind == TMPL_T_STRING) {
        struct tmpl_value more = tmpl_text(p->ctx, p->t->text, TMPL_FROM_TEMPLATE);
        const struct tmpl_text *const parts[] = {n->literal.text, more.text};
        n->literal = tmpl_text_join(p->ctx, parts, 2);
        tmpl_cursor_next(p);
    }
    return n;
}

static struct tmpl_node *parse_name(struct tmpl_cursor *p)
{
    static const struct {
        const char *name;
        enum tmpl_kind kind;
        bool boolean;
    } WORDS[] = {
        {"true", TMPL_BOOL, true},   {"True", TMPL_BOOL, true},  {"false", TMPL_BOOL, false},
        {"False", TMPL_BOOL, false}, {"none", TMPL_NONE, false}, {"None", TMPL_NONE, false},
    };
    struct tmpl_node *n = NULL;
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (tmpl_cursor_at_name(p, WORDS[i].name))
            n = literal(p, WORDS[i].kind == TMPL_BOOL ? tmpl_bool(WORDS[i].boolean) : tmpl_none());
    }
    if (!n) {
        n = tmpl_cursor_node(p, TMPL_N_NAME);
        if (n) {
            n->name = tmpl_cursor_intern(p, p->t->text);
            n->callee = tmpl_callee_find(TMPL_GLOBAL, p->t->text);
        }
    }
    tmpl_cursor_next(p);
    return n;
}

/* `first` is NULL or the element that was already read. Reads up to the closing bracket. */
static struct tmpl_node *parse_elements(struct tmpl_cursor *p, enum tmpl_node_kind kind,
                                        struct tmpl_node *first, const char *close)
{
    struct tmpl_node *n = tmpl_cursor_node(p, kind);
    struct tmpl_chain c = {0};
    tmpl_cursor_chain(&c, first);
    while (tmpl_cursor_is_ok(p) && !tmpl_cursor_at_op(p, close)) {
        if (c.first) {
            tmpl_cursor_expect_op(p, ",");
            if (tmpl_cursor_at_op(p, close))
                break;
        }
        tmpl_cursor_chain(&c, tmpl_expr_parse(p));
    }
    tmpl_cursor_expect_op(p, close);
    if (n)
        n->a = c.first;
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_dict(struct tmpl_cursor *p)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_DICT);
    struct tmpl_chain c = {0};
    tmpl_cursor_next(p);
    while (tmpl_cursor_is_ok(p) && !tmpl_cursor_at_op(p, "}")) {
        if (c.first) {
            tmpl_cursor_expect_op(p, ",");
            if (tmpl_cursor_at_op(p, "}"))
                break;
        }
        tmpl_cursor_chain(&c, tmpl_expr_parse(p));
        tmpl_cursor_expect_op(p, ":");
        if (tmpl_cursor_is_ok(p))
            tmpl_cursor_chain(&c, tmpl_expr_parse(p));
    }
    tmpl_cursor_expect_op(p, "}");
    if (n)
        n->a = c.first;
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_parenthesis(struct tmpl_cursor *p)
{
    tmpl_cursor_next(p);
    if (tmpl_cursor_at_op(p, ")"))
        return parse_elements(p, TMPL_N_TUPLE, NULL, ")");
    struct tmpl_node *n = tmpl_expr_parse(p);
    if (tmpl_cursor_is_ok(p) && tmpl_cursor_at_op(p, ","))
        return parse_elements(p, TMPL_N_TUPLE, n, ")");
    tmpl_cursor_expect_op(p, ")");
    return n;
}

static struct tmpl_node *parse_primary(struct tmpl_cursor *p)
{
    struct tmpl_node *n = NULL;
    switch (p->t->kind) {
    case TMPL_T_NAME:
        return parse_name(p);
    case TMPL_T_STRING:
        return parse_string(p);
    case TMPL_T_INT:
        n = literal(p, tmpl_int(p->t->integer));
        tmpl_cursor_next(p);
        return n;
    case TMPL_T_FLOAT:
        n = literal(p, tmpl_real(p->t->real));
        tmpl_cursor_next(p);
        return n;
    case TMPL_T_OP:
        if (tmpl_cursor_at_op(p, "("))
            return parse_parenthesis(p);
        if (tmpl_cursor_at_op(p, "{"))
            return parse_dict(p);
        if (tmpl_cursor_take_op(p, "["))
            return parse_elements(p, TMPL_N_LIST, NULL, "]");
        break;
    case TMPL_T_END:
    case TMPL_T_DATA:
    case TMPL_T_PRINT:
    case TMPL_T_PRINT_END:
    case TMPL_T_BLOCK:
    case TMPL_T_BLOCK_END:
        break;
    }
    return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected an expression");
}

/* ---- what follows a primary -------------------------------------------------------- */

/* Behind the opening parenthesis. */
static struct tmpl_node *parse_arguments(struct tmpl_cursor *p)
{
    struct tmpl_chain c = {0};
    while (tmpl_cursor_is_ok(p) && !tmpl_cursor_at_op(p, ")")) {
        if (c.first) {
            tmpl_cursor_expect_op(p, ",");
            if (tmpl_cursor_at_op(p, ")"))
                break;
        }
        if (tmpl_cursor_at_op(p, "*") || tmpl_cursor_at_op(p, "**"))
            return tmpl_cursor_fail(p, ERR_UNSUPPORTED, "unpacked arguments are not supported");
        bool is_named =
            p->t->kind == TMPL_T_NAME && p->t[1].kind == TMPL_T_OP && str_is(p->t[1].text, "=");
        struct tmpl_node *arg = is_named ? tmpl_cursor_node(p, TMPL_N_ARG) : NULL;
        if (arg) {
            arg->name = tmpl_cursor_intern(p, p->t->text);
            tmpl_cursor_next(p);
            tmpl_cursor_next(p);
        }
        struct tmpl_node *value = tmpl_expr_parse(p);
        if (arg)
            arg->a = value;
        tmpl_cursor_chain(&c, arg ? tmpl_cursor_finish(p, arg) : value);
    }
    tmpl_cursor_expect_op(p, ")");
    return c.first;
}

static struct tmpl_node *unknown(struct tmpl_cursor *p, struct tmpl_node *at, const char *what,
                                 struct str name)
{
    p->ctx->line = at->line;
    tmpl_fail(p->ctx, ERR_UNSUPPORTED, "%s '%.*s' is not supported", what, (int)name.len, name.ptr);
    return NULL;
}

/* Behind the opening parenthesis of a call of `target`. */
static struct tmpl_node *parse_call(struct tmpl_cursor *p, struct tmpl_node *target)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_CALL);
    if (!n)
        return NULL;
    n->line = target->line;
    n->a = target;
    if (target->kind == TMPL_N_ATTR) {
        n->kind = TMPL_N_METHOD;
        n->callee = tmpl_callee_find(TMPL_METHOD, str_from(target->name));
        n->a = target->a;
        if (!n->callee)
            return unknown(p, target, "method", str_from(target->name));
    } else if (target->kind == TMPL_N_NAME) {
        n->name = target->name;
        n->callee = target->callee;
    } else {
        return tmpl_cursor_fail(p, ERR_UNSUPPORTED, "this cannot be called");
    }
    n->b = parse_arguments(p);
    return tmpl_cursor_finish(p, n);
}

/* Behind the opening bracket. */
static struct tmpl_node *parse_subscript(struct tmpl_cursor *p, struct tmpl_node *target)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_INDEX);
    if (!n)
        return NULL;
    n->a = target;
    n->b = tmpl_cursor_at_op(p, ":") ? NULL : tmpl_expr_parse(p);
    if (tmpl_cursor_is_ok(p) && tmpl_cursor_take_op(p, ":")) {
        n->kind = TMPL_N_SLICE;
        n->c = tmpl_cursor_at_op(p, "]") || tmpl_cursor_at_op(p, ":") ? NULL : tmpl_expr_parse(p);
        if (tmpl_cursor_is_ok(p) && tmpl_cursor_take_op(p, ":"))
            n->d = tmpl_cursor_at_op(p, "]") ? NULL : tmpl_expr_parse(p);
    }
    tmpl_cursor_expect_op(p, "]");
    return tmpl_cursor_finish(p, n);
}

struct tmpl_node *tmpl_expr_attribute(struct tmpl_cursor *p, struct tmpl_node *target)
{
    if (p->t->kind == TMPL_T_INT) { /* list.0 */
        struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_INDEX);
        if (n) {
            n->a = target;
            n->b = parse_primary(p);
        }
        return tmpl_cursor_finish(p, n);
    }
    if (p->t->kind != TMPL_T_NAME)
        return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected a name behind the dot");
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_ATTR);
    if (!n)
        return NULL;
    n->a = target;
    n->name = tmpl_cursor_intern(p, p->t->text);
    n->callee = tmpl_callee_find(TMPL_METHOD, p->t->text);
    tmpl_cursor_next(p);
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_postfix(struct tmpl_cursor *p, struct tmpl_node *n)
{
    while (tmpl_cursor_is_ok(p)) {
        if (tmpl_cursor_take_op(p, "."))
            n = tmpl_expr_attribute(p, n);
        else if (tmpl_cursor_take_op(p, "["))
            n = parse_subscript(p, n);
        else if (tmpl_cursor_take_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static struct tmpl_node *parse_filter(struct tmpl_cursor *p, struct tmpl_node *target)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_FILTER);
    if (!n)
        return NULL;
    if (p->t->kind != TMPL_T_NAME)
        return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected the name of a filter");
    n->callee = tmpl_callee_find(TMPL_FILTER, p->t->text);
    n->a = target;
    if (!n->callee)
        return unknown(p, n, "filter", p->t->text);
    tmpl_cursor_next(p);
    if (tmpl_cursor_take_op(p, "("))
        n->b = parse_arguments(p);
    return tmpl_cursor_finish(p, n);
}

/* Whether the token begins an argument that needs no parentheses: x is divisibleby 3. */
static bool begins_argument(const struct tmpl_cursor *p)
{
    static const char *const WORDS[] = {"else", "or", "and", "is", "if", "in", "not"};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (tmpl_cursor_at_name(p, WORDS[i]))
            return false;
    }
    return p->t->kind == TMPL_T_NAME || p->t->kind == TMPL_T_STRING || p->t->kind == TMPL_T_INT ||
           p->t->kind == TMPL_T_FLOAT || tmpl_cursor_at_op(p, "[") || tmpl_cursor_at_op(p, "{");
}

static struct tmpl_node *parse_test(struct tmpl_cursor *p, struct tmpl_node *target)
{
    struct tmpl_node *n = tmpl_cursor_node(p, TMPL_N_TEST);
    if (!n)
        return NULL;
    n->op = tmpl_cursor_take_name(p, "not") ? '!' : 0;
    if (p->t->kind != TMPL_T_NAME)
        return tmpl_cursor_fail(p, ERR_TEMPLATE, "expected the name of a test");
    n->callee = tmpl_callee_find(TMPL_TEST, p->t->text);
    n->a = target;
    if (!n->callee)
        return unknown(p, n, "test", p->t->text);
    tmpl_cursor_next(p);
    if (tmpl_cursor_take_op(p, "("))
        n->b = parse_arguments(p);
    else if (begins_argument(p))
        n->b = parse_postfix(p, parse_primary(p));
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_filters(struct tmpl_cursor *p, struct tmpl_node *n)
{
    while (tmpl_cursor_is_ok(p)) {
        if (tmpl_cursor_take_op(p, "|"))
            n = parse_filter(p, n);
        else if (tmpl_cursor_take_name(p, "is"))
            n = parse_test(p, n);
        else if (tmpl_cursor_take_op(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* ---- operators --------------------------------------------------------------------- */

static struct tmpl_node *pair(struct tmpl_cursor *p, enum tmpl_node_kind kind, int op,
                              struct tmpl_node *a, struct tmpl_node *b)
{
    struct tmpl_node *n = tmpl_cursor_node(p, kind);
    if (n) {
        n->op = op;
        n->a = a;
        n->b = b;
    }
    return tmpl_cursor_finish(p, n);
}

static struct tmpl_node *parse_unary(struct tmpl_cursor *p, bool with_filter)
{
    if (++p->depth > TMPL_MAX_HEIGHT)
        return tmpl_cursor_fail(p, ERR_DEPTH, "an expression is nested too deeply");
    struct tmpl_node *n;
    if (tmpl_cursor_take_op(p, "-"))
        n = pair(p, TMPL_N_MINUS, 0, parse_unary(p, false), NULL);
    else if (tmpl_cursor_take_op(p, "+"))
        n = pair(p, TMPL_N_PLUS, 0, parse_unary(p, false), NULL);
    else
        n = parse_primary(p);
    if (tmpl_cursor_is_ok(p))
        n = parse_postfix(p, n);
    if (tmpl_cursor_is_ok(p) && with_filter)
        n = parse_filters(p, n);
    p->depth--;
    return n;
}

static struct tmpl_node *parse_power(struct tmpl_cursor *p)
{
    struct tmpl_node *n = parse_unary(p, true);
    while (tmpl_cursor_is_ok(p) && tmpl_cursor_take_op(p, "**"))
        n = pair(p, TMPL_N_BINARY, TMPL_OP_POWER, n, parse_unary(p, true));
    return n;
}

static struct tmpl_node *parse_product(struct tmpl_cursor *p)
{
    struct tmpl_node *n = parse_power(p);
    while (tmpl_cursor_is_ok(p)) {
        int op = tmpl_cursor_at_op(p, "*")    ? '*'
                 : tmpl_cursor_at_op(p, "/")  ? '/'
                 : tmpl_cursor_at_op(p, "%")  ? '%'
                 : tmpl_cursor_at_op(p, "//") ? TMPL_OP_FLOOR
                                              : 0;
        if (op == 0)
            break;
        tmpl_cursor_next(p);
        n = pair(p, TMPL_N_BINARY, op, n, parse_power(p));
    }
    return n;
}

static struct tmpl_node *parse_concat(struct tmpl_cursor *p)
{
    struct tmpl_node *n = parse_product(p);
    while (tmpl_cursor_is_ok(p) && tmpl_cursor_take_op(p, "~"))
        n = pair(p, TMPL_N_CONCAT, '~', n, parse_product(p));
    return n;
}

static struct tmpl_node *parse_sum(struct tmpl_cursor *p)
{
    struct tmpl_node *n = parse_concat(p);
    while (tmpl_cursor_is_ok(p) && (tmpl_cursor_at_op(p, "+") || tmpl_cursor_at_op(p, "-"))) {
        int op = (unsigned char)p->t->text.ptr[0];
        tmpl_cursor_next(p);
        n = pair(p, TMPL_N_BINARY, op, n, parse_concat(p));
    }
    return n;
}

static int take_comparison(struct tmpl_cursor *p)
{
    static const struct {
        const char *text;
        int op;
    } OPS[] = {{"==", TMPL_OP_EQUAL},    {"!=", TMPL_OP_NOT_EQUAL}, {"<", '<'}, {">", '>'},
               {">=", TMPL_OP_AT_LEAST}, {"<=", TMPL_OP_AT_MOST}};
    for (size_t i = 0; i < sizeof OPS / sizeof OPS[0]; i++) {
        if (tmpl_cursor_take_op(p, OPS[i].text))
            return OPS[i].op;
    }
    if (tmpl_cursor_take_name(p, "in"))
        return TMPL_OP_IN;
    if (tmpl_cursor_at_name(p, "not") && p->t[1].kind == TMPL_T_NAME &&
        str_is(p->t[1].text, "in")) {
        tmpl_cursor_next(p);
        tmpl_cursor_next(p);
        return TMPL_OP_NOT_IN;
    }
    return 0;
}

static struct tmpl_node *parse_comparison(struct tmpl_cursor *p)
{
    struct tmpl_node *n = parse_sum(p);
    struct tmpl_chain c = {0};
    while (tmpl_cursor_is_ok(p)) {
        int op = take_comparison(p);
        if (op == 0)
            break;
        /* The operand gets a node of its own for the operator. */
        tmpl_cursor_chain(&c, pair(p, TMPL_N_ARG, op, parse_sum(p), NULL));
    }
    return c.first ? pair(p, TMPL_N_COMPARE, 0, n, c.first) : n;
}

static struct tmpl_node *parse_not(struct tmpl_cursor *p)
{
    if (!tmpl_cursor_take_name(p, "not"))
        return parse_comparison(p);
    if (++p->depth > TMPL_MAX_HEIGHT)
        return tmpl_cursor_fail(p, ERR_DEPTH, "an expression is nested too deeply");
    struct tmpl_node *n = pair(p, TMPL_N_NOT, 0, parse_not(p), NULL);
    p->depth--;
    return n;
}

static struct tmpl_node *parse_and(struct tmpl_cursor *p)
{
    struct tmpl_node *n = parse_not(p);
    while (tmpl_cursor_is_ok(p) && tmpl_cursor_take_name(p, "and"))
        n = pair(p, TMPL_N_AND, 0, n, parse_not(p));
    return n;
}

struct tmpl_node *tmpl_expr_or(struct tmpl_cursor *p)
{
    struct tmpl_node *n = parse_and(p);
    while (tmpl_cursor_is_ok(p) && tmpl_cursor_take_name(p, "or"))
        n = pair(p, TMPL_N_OR, 0, n, parse_and(p));
    return n;
}

struct tmpl_node *tmpl_expr_parse(struct tmpl_cursor *p)
{
    if (++p->depth > TMPL_MAX_HEIGHT)
        return tmpl_cursor_fail(p, ERR_DEPTH, "an expression is nested too deeply");
    struct tmpl_node *n = tmpl_expr_or(p);
    while (tmpl_cursor_is_ok(p) && tmpl_cursor_take_name(p, "if")) {
        struct tmpl_node *choice = tmpl_cursor_node(p, TMPL_N_COND);
        struct tmpl_node *condition = tmpl_expr_or(p);
        struct tmpl_node *other = tmpl_cursor_take_name(p, "else") ? tmpl_expr_parse(p) : NULL;
        if (choice) {
            choice->a = n;
            choice->b = other;
            choice->c = condition;
        }
        n = tmpl_cursor_finish(p, choice);
    }
    p->depth--;
    return n;
}

/* An expression, or several with commas between: a tuple. */
struct tmpl_node *tmpl_expr_tuple(struct tmpl_cursor *p)
{
    struct tmpl_node *n = tmpl_expr_parse(p);
    if (!tmpl_cursor_is_ok(p) || !tmpl_cursor_at_op(p, ","))
        return n;
    struct tmpl_node *tuple = tmpl_cursor_node(p, TMPL_N_TUPLE);
    struct tmpl_chain c = {0};
    tmpl_cursor_chain(&c, n);
    while (tmpl_cursor_is_ok(p) && tmpl_cursor_take_op(p, ",")) {
        if (p->t->kind == TMPL_T_BLOCK_END || p->t->kind == TMPL_T_PRINT_END)
            break;
        tmpl_cursor_chain(&c, tmpl_expr_parse(p));
    }
    if (tuple)
        tuple->a = c.first;
    return tmpl_cursor_finish(p, tuple);
}
