/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_eval.h"

#include <math.h>
#include <string.h>

#include "common/check.h"
#include "services/tokenizer/tmpl_format.h"

enum {
    MAX_DEPTH = 1000, /* of eval within eval; about 300 bytes of stack each */
    MAX_ARGS = 16,
};

struct variable {
    struct variable *next;
    const char *name;
    struct tmpl_value value;
    bool is_set;
};

/* Variables of the template, of one turn of a loop, or of a macro. */
struct frame {
    struct frame *outer;
    struct variable *first;
};

enum jump { JUMP_NONE, JUMP_BREAK, JUMP_CONTINUE };

struct run {
    struct tmpl_ctx *ctx;
    struct frame *frame;
    struct frame *global;
    struct tmpl_output *out;
    enum jump jump;
    size_t n_loops;
    const char *name_loop;
};

static struct tmpl_value eval(struct run *r, const struct tmpl_node *n);
static void exec(struct run *r, const struct tmpl_node *list);

static bool is_ok(const struct run *r)
{
    return r->ctx->err == ERR_OK;
}

/* ---- variables ---------------------------------------------------------------------------------- */

static struct variable *find(struct frame *f, const char *name)
{
    for (struct variable *v = f->first; v; v = v->next) {
        if (v->name == name)
            return v;
    }
    return NULL;
}

static void assign(struct run *r, struct frame *f, const char *name, struct tmpl_value value)
{
    struct variable *v = find(f, name);
    if (!v) {
        v = tmpl_alloc(r->ctx, 1, sizeof *v);
        if (!v)
            return;
        *v = (struct variable){.next = f->first, .name = name};
        f->first = v;
    }
    v->value = value;
    v->is_set = true;
}

/* NULL when there is no such variable. */
static const struct tmpl_value *lookup(const struct run *r, const char *name)
{
    for (struct frame *f = r->frame; f; f = f->outer) {
        const struct variable *v = find(f, name);
        if (v && v->is_set)
            return &v->value;
    }
    return NULL;
}

/* Takes apart a value for several names. */
static void assign_targets(struct run *r, const struct tmpl_node *names, struct tmpl_value value)
{
    if (!names->next) {
        assign(r, r->frame, names->name, value);
        return;
    }
    const struct tmpl_list *l = tmpl_items(r->ctx, &value);
    size_t n = 0;
    for (const struct tmpl_node *t = names; t; t = t->next)
        n++;
    if (l->n != n) {
        tmpl_fail(r->ctx, ERR_TEMPLATE, "%zu names for %zu values", n, l->n);
        return;
    }
    for (size_t i = 0; i < n; i++, names = names->next)
        assign(r, r->frame, names->name, l->v[i]);
}

/* ---- output ------------------------------------------------------------------------------------- */

static void print(struct run *r, const struct tmpl_text *t)
{
    struct tmpl_output *out = r->out;
    if (t->len == 0 || !tmpl_spend(r->ctx, t->len / 256))
        return;
    if (t->len > out->cap_bytes - out->text.len) {
        tmpl_fail(r->ctx, ERR_TOO_LARGE, "the template prints more than %zu bytes", out->cap_bytes);
        return;
    }
    buf_add(&out->text, t->ptr, t->len);
    if (t->origins) {
        buf_add(&out->origins, t->origins, t->len);
    } else {
        memset(buf_reserve(&out->origins, t->len), t->origin, t->len);
        out->origins.len += t->len;
    }
}

/* What a body prints, as a value. Variables that it sets are its own. */
static struct tmpl_value capture(struct run *r, const struct tmpl_node *body)
{
    struct tmpl_output own = {.cap_bytes = r->out->cap_bytes};
    struct tmpl_output *outer = r->out;
    struct frame frame = {.outer = r->frame};
    r->out = &own;
    r->frame = &frame;
    exec(r, body);
    r->frame = frame.outer;
    r->out = outer;
    struct tmpl_value v =
        tmpl_text_copy(r->ctx, buf_str(&own.text), (const uint8_t *)buf_str(&own.origins).ptr);
    buf_fini(&own.text);
    buf_fini(&own.origins);
    return v;
}

/* ---- arithmetic --------------------------------------------------------------------------------- */

static struct tmpl_value no_operation(struct run *r, int op, const struct tmpl_value *a,
                                      const struct tmpl_value *b)
{
    const struct tmpl_value *missing = a->kind == TMPL_UNDEFINED   ? a
                                       : b->kind == TMPL_UNDEFINED ? b
                                                                   : NULL;
    if (missing)
        return tmpl_fail(r->ctx, ERR_TEMPLATE, "%s is undefined",
                         missing->name ? missing->name : "a value");
    return tmpl_fail(r->ctx, ERR_TEMPLATE, "no operation %c between %s and %s",
                     op < 256 ? (char)op : '/', tmpl_kind_name(a), tmpl_kind_name(b));
}

static bool as_integer(const struct tmpl_value *v, int64_t *ret_i)
{
    *ret_i = v->kind == TMPL_INT ? v->integer : v->kind == TMPL_BOOL ? v->boolean : 0;
    return v->kind == TMPL_INT || v->kind == TMPL_BOOL;
}

static bool as_real(const struct tmpl_value *v, double *ret_d)
{
    int64_t i;
    bool is_int = as_integer(v, &i);
    *ret_d = is_int ? (double)i : v->kind == TMPL_FLOAT ? v->real : 0.0;
    return is_int || v->kind == TMPL_FLOAT;
}

/* Rounds towards minus infinity, as Python does. b is neither 0 nor -1. */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static struct tmpl_value integers(struct run *r, int op, int64_t a, int64_t b)
{
    int64_t i = 0;
    bool is_wrong = false;
    if ((op == '%' || op == TMPL_OP_FLOOR || op == '/') && b == 0)
        return tmpl_fail(r->ctx, ERR_TEMPLATE, "division by zero");
    if (op == '+')
        is_wrong = __builtin_add_overflow(a, b, &i);
    else if (op == '-')
        is_wrong = __builtin_sub_overflow(a, b, &i);
    else if (op == '*')
        is_wrong = __builtin_mul_overflow(a, b, &i);
    else if (op == '%')
        i = b == -1 ? 0 : a - b * floor_div(a, b);
    else if (op == TMPL_OP_FLOOR && b == -1)
        is_wrong = __builtin_sub_overflow((int64_t)0, a, &i);
    else if (op == TMPL_OP_FLOOR)
        i = floor_div(a, b);
    else if (op == '/')
        return tmpl_real((double)a / (double)b);
    else
        return tmpl_fail(r->ctx, ERR_UNSUPPORTED, "powers are not supported");
    if (is_wrong)
        return tmpl_fail(r->ctx, ERR_TEMPLATE, "a number is too large");
    return tmpl_int(i);
}

static struct tmpl_value reals(struct run *r, int op, double a, double b)
{
    if ((op == '%' || op == TMPL_OP_FLOOR || op == '/') && !(b < 0.0 || b > 0.0))
        return tmpl_fail(r->ctx, ERR_TEMPLATE, "division by zero");
    if (op == '+')
        return tmpl_real(a + b);
    if (op == '-')
        return tmpl_real(a - b);
    if (op == '*')
        return tmpl_real(a * b);
    if (op == '/')
        return tmpl_real(a / b);
    if (op == TMPL_OP_FLOOR)
        return tmpl_real(floor(a / b));
    if (op == '%')
        return tmpl_real(a - b * floor(a / b));
    return tmpl_fail(r->ctx, ERR_UNSUPPORTED, "powers are not supported");
}

static struct tmpl_value add_lists(struct run *r, const struct tmpl_list *a,
                                   const struct tmpl_list *b)
{
    struct tmpl_list *l = tmpl_list_new(r->ctx, a->n + b->n);
    if (!l)
        return tmpl_undefined(NULL);
    if (a->n > 0)
        memcpy(l->v, a->v, a->n * sizeof *l->v);
    if (b->n > 0)
        memcpy(l->v + a->n, b->v, b->n * sizeof *l->v);
    return tmpl_list(l);
}

static struct tmpl_value repeat(struct run *r, const struct tmpl_text *t, int64_t times)
{
    if (times > TMPL_MAX_RANGE)
        return tmpl_fail(r->ctx, ERR_TOO_LARGE, "a text is repeated too often");
    size_t n = times > 0 ? (size_t)times : 0;
    const struct tmpl_text **parts = tmpl_text_parts(r->ctx, n);
    for (size_t i = 0; parts && i < n; i++)
        parts[i] = t;
    return parts ? tmpl_text_join(r->ctx, parts, n) : tmpl_undefined(NULL);
}

static struct tmpl_value operate(struct run *r, int op, const struct tmpl_value *a,
                                 const struct tmpl_value *b)
{
    int64_t i;
    int64_t j;
    double x;
    double y;
    if (op == '+' && a->kind == TMPL_TEXT && b->kind == TMPL_TEXT)
        return tmpl_text_join(r->ctx, (const struct tmpl_text *const[]){a->text, b->text}, 2);
    if (as_integer(a, &i) && as_integer(b, &j))
        return integers(r, op, i, j);
    if (as_real(a, &x) && as_real(b, &y))
        return reals(r, op, x, y);
    if (op == '+' && a->kind == TMPL_LIST && b->kind == TMPL_LIST)
        return add_lists(r, a->list, b->list);
    if (op == '*' && a->kind == TMPL_TEXT && as_integer(b, &j))
        return repeat(r, a->text, j);
    if (op == '*' && b->kind == TMPL_TEXT && as_integer(a, &i))
        return repeat(r, b->text, i);
    return no_operation(r, op, a, b);
}

/* a + b + c and a ~ b ~ c lean to the left: all texts of such a chain are put together at once, so that
 * a long message is not copied at each step. */
static struct tmpl_value eval_chain(struct run *r, const struct tmpl_node *n)
{
    size_t n_chain = n->height;
    const struct tmpl_node **operands = tmpl_alloc(r->ctx, n_chain, sizeof(void *));
    const struct tmpl_text **parts = tmpl_text_parts(r->ctx, n_chain + 1);
    if (!operands || !parts)
        return tmpl_undefined(NULL);
    bool is_concat = n->kind == TMPL_N_CONCAT;
    int op = n->op;
    size_t n_operands = 0;
    while ((n->kind == TMPL_N_BINARY || n->kind == TMPL_N_CONCAT) && n->op == op) {
        operands[n_operands++] = n->b;
        n = n->a;
    }
    struct tmpl_value sum = eval(r, n);
    size_t n_parts = 0;
    if (is_concat || sum.kind == TMPL_TEXT)
        parts[n_parts++] = tmpl_format_str(r->ctx, &sum);
    while (n_operands > 0 && is_ok(r)) {
        struct tmpl_value v = eval(r, operands[--n_operands]);
        if (is_concat || (n_parts > 0 && v.kind == TMPL_TEXT)) {
            parts[n_parts++] = tmpl_format_str(r->ctx, &v);
            continue;
        }
        if (n_parts > 0)
            sum = tmpl_text_join(r->ctx, parts, n_parts);
        n_parts = 0;
        sum = operate(r, op, &sum, &v);
        if (sum.kind == TMPL_TEXT)
            parts[n_parts++] = sum.text;
    }
    return n_parts > 0 && is_ok(r) ? tmpl_text_join(r->ctx, parts, n_parts) : sum;
}

static struct tmpl_value eval_comparison(struct run *r, const struct tmpl_node *n)
{
    struct tmpl_value left = eval(r, n->a);
    bool holds = true;
    for (const struct tmpl_node *c = n->b; c && holds && is_ok(r); c = c->next) {
        struct tmpl_value right = eval(r, c->a);
        if (!is_ok(r))
            break;
        switch (c->op) {
        case TMPL_OP_EQUAL:
            holds = tmpl_equal(r->ctx, &left, &right);
            break;
        case TMPL_OP_NOT_EQUAL:
            holds = !tmpl_equal(r->ctx, &left, &right);
            break;
        case TMPL_OP_IN:
            holds = tmpl_contains(r->ctx, &right, &left);
            break;
        case TMPL_OP_NOT_IN:
            holds = !tmpl_contains(r->ctx, &right, &left);
            break;
        case '<':
            holds = tmpl_compare(r->ctx, &left, &right) < 0;
            break;
        case '>':
            holds = tmpl_compare(r->ctx, &left, &right) > 0;
            break;
        case TMPL_OP_AT_LEAST:
            holds = tmpl_compare(r->ctx, &left, &right) >= 0;
            break;
        default:
            holds = tmpl_compare(r->ctx, &left, &right) <= 0;
            break;
        }
        left = right;
    }
    return tmpl_bool(holds);
}

static struct tmpl_value eval_sign(struct run *r, const struct tmpl_node *n)
{
    struct tmpl_value v = eval(r, n->a);
    struct tmpl_value zero = tmpl_int(0);
    if (v.kind == TMPL_FLOAT && n->kind == TMPL_N_MINUS)
        return tmpl_real(-v.real);
    if (n->kind == TMPL_N_MINUS)
        return operate(r, '-', &zero, &v);
    return operate(r, '+', &zero, &v);
}

/* ---- attributes and calls ----------------------------------------------------------------------- */

static struct tmpl_value loop_attribute(const struct tmpl_loop *l, const char *name)
{
    int64_t at = (int64_t)l->at;
    int64_t n = (int64_t)l->items->n;
    const struct {
        const char *name;
        int64_t value;
    } NUMBERS[] = {
        {"index", at + 1},
        {"index0", at},
        {"revindex", n - at},
        {"revindex0", n - at - 1},
        {"length", n},
        {"depth", (int64_t)l->depth0 + 1},
        {"depth0", (int64_t)l->depth0},
    };
    for (size_t i = 0; i < ARRAY_LEN(NUMBERS); i++) {
        if (strcmp(name, NUMBERS[i].name) == 0)
            return tmpl_int(NUMBERS[i].value);
    }
    if (strcmp(name, "first") == 0)
        return tmpl_bool(at == 0);
    if (strcmp(name, "last") == 0)
        return tmpl_bool(at + 1 == n);
    if (strcmp(name, "previtem") == 0 && at > 0)
        return l->items->v[at - 1];
    if (strcmp(name, "nextitem") == 0 && at + 1 < n)
        return l->items->v[at + 1];
    return tmpl_undefined("an attribute of loop");
}

/* Whether the name is that of a method which such a value has. */
static bool names_method(const struct tmpl_node *n, const struct tmpl_value *of)
{
    static const char *const OF_MAPS[] = {"get", "items", "keys", "values"};
    bool is_of_maps = false;
    for (size_t i = 0; i < ARRAY_LEN(OF_MAPS); i++)
        is_of_maps |= strcmp(OF_MAPS[i], n->name) == 0;
    return n->callee && of->kind == (is_of_maps ? TMPL_MAP : TMPL_TEXT);
}

static struct tmpl_value attribute(struct run *r, const struct tmpl_node *n,
                                   const struct tmpl_value *of)
{
    if (of->kind == TMPL_UNDEFINED)
        return tmpl_fail(r->ctx, ERR_TEMPLATE, "%s is undefined", of->name ? of->name : "a value");
    if (names_method(n, of))
        return (struct tmpl_value){.kind = TMPL_FUNCTION};
    if (of->kind == TMPL_MAP || of->kind == TMPL_NAMESPACE) {
        const struct tmpl_value *found =
            tmpl_spend(r->ctx, of->map->n / 8) ? tmpl_map_get(of->map, str_from(n->name)) : NULL;
        return found ? *found : tmpl_undefined(n->name);
    }
    if (of->kind == TMPL_LOOP)
        return loop_attribute(of->loop, n->name);
    return tmpl_undefined(n->name);
}

static struct tmpl_value eval_index(struct run *r, const struct tmpl_node *n)
{
    struct tmpl_value of = eval(r, n->a);
    struct tmpl_value index = eval(r, n->b);
    if (!is_ok(r))
        return tmpl_undefined(NULL);
    if (of.kind == TMPL_UNDEFINED)
        return tmpl_fail(r->ctx, ERR_TEMPLATE, "%s is undefined", of.name ? of.name : "a value");
    if (of.kind == TMPL_NAMESPACE)
        of.kind = TMPL_MAP;
    return tmpl_index(r->ctx, &of, &index);
}

static struct tmpl_value eval_slice(struct run *r, const struct tmpl_node *n)
{
    struct tmpl_value of = eval(r, n->a);
    struct tmpl_value from = n->b ? eval(r, n->b) : tmpl_none();
    struct tmpl_value to = n->c ? eval(r, n->c) : tmpl_none();
    struct tmpl_value step = n->d ? eval(r, n->d) : tmpl_none();
    return is_ok(r) ? tmpl_slice(r->ctx, &of, &from, &to, &step) : tmpl_undefined(NULL);
}

/* Evaluated arguments; lives as long as its call. */
struct arguments {
    struct tmpl_args args;
    struct tmpl_value v[MAX_ARGS];
    struct tmpl_entry named[MAX_ARGS];
};

static void eval_arguments(struct run *r, const struct tmpl_node *list, struct arguments *ret)
{
    ret->args = (struct tmpl_args){.v = ret->v, .named = ret->named};
    for (; list && is_ok(r); list = list->next) {
        bool is_named = list->kind == TMPL_N_ARG;
        if (ret->args.n == MAX_ARGS || ret->args.n_named == MAX_ARGS) {
            tmpl_fail(r->ctx, ERR_TOO_LARGE, "a call has more than %d arguments", MAX_ARGS);
            return;
        }
        if (!is_named) {
            ret->v[ret->args.n++] = eval(r, list);
            continue;
        }
        struct tmpl_entry *e = &ret->named[ret->args.n_named++];
        e->key = tmpl_text(r->ctx, str_from(list->name), TMPL_FROM_TEMPLATE);
        e->value = eval(r, list->a);
    }
}

static struct tmpl_value eval_builtin(struct run *r, const struct tmpl_node *n,
                                      const struct tmpl_callee *callee)
{
    struct tmpl_value self = n->a && n->kind != TMPL_N_CALL ? eval(r, n->a) : tmpl_undefined(NULL);
    struct arguments a;
    eval_arguments(r, n->b, &a);
    if (!is_ok(r))
        return tmpl_undefined(NULL);
    r->ctx->line = n->line;
    if (n->kind == TMPL_N_METHOD && self.kind == TMPL_UNDEFINED)
        return tmpl_fail(r->ctx, ERR_TEMPLATE, "%s is undefined",
                         self.name ? self.name : "a value");
    struct tmpl_value v = tmpl_callee_call(r->ctx, callee, &self, &a.args);
    if (n->kind == TMPL_N_TEST)
        return tmpl_bool(tmpl_is_true(&v) != (n->op == '!'));
    return v;
}

static void bind_parameters(struct run *r, const struct tmpl_node *macro, const struct arguments *a)
{
    size_t at = 0;
    for (const struct tmpl_node *p = macro->names; p && is_ok(r); p = p->next, at++) {
        struct tmpl_value v = tmpl_undefined(p->name);
        bool is_bound = at < a->args.n;
        if (is_bound)
            v = a->v[at];
        for (size_t i = 0; i < a->args.n_named; i++) {
            if (tmpl_is_text(&a->named[i].key, p->name)) {
                v = a->named[i].value;
                is_bound = true;
            }
        }
        if (!is_bound && p->a)
            v = eval(r, p->a);
        assign(r, r->frame, p->name, v);
    }
    if (a->args.n > at)
        tmpl_fail(r->ctx, ERR_TEMPLATE, "macro %s takes at most %zu arguments", macro->name, at);
}

static struct tmpl_value call_macro(struct run *r, const struct tmpl_node *macro,
                                    const struct arguments *a)
{
    struct frame own = {.outer = r->global};
    struct frame *caller = r->frame;
    size_t n_loops = r->n_loops;
    r->frame = &own;
    r->n_loops = 0;
    bind_parameters(r, macro, a);
    struct tmpl_value v = is_ok(r) ? capture(r, macro->b) : tmpl_undefined(NULL);
    r->frame = caller;
    r->n_loops = n_loops;
    return v;
}

static struct tmpl_value eval_call(struct run *r, const struct tmpl_node *n)
{
    const struct tmpl_value *named = lookup(r, n->name);
    if (!named && n->callee)
        return eval_builtin(r, n, n->callee);
    if (!named || named->kind != TMPL_MACRO)
        return tmpl_fail(r->ctx, ERR_TEMPLATE, "%s is not a function", n->name);
    const struct tmpl_node *macro = named->macro;
    struct arguments a;
    eval_arguments(r, n->b, &a);
    return is_ok(r) ? call_macro(r, macro, &a) : tmpl_undefined(NULL);
}

/* ---- expressions -------------------------------------------------------------------------------- */

static struct tmpl_value eval_name(const struct run *r, const struct tmpl_node *n)
{
    const struct tmpl_value *v = lookup(r, n->name);
    if (v)
        return *v;
    if (n->callee)
        return (struct tmpl_value){.kind = TMPL_FUNCTION};
    return tmpl_undefined(n->name);
}

static struct tmpl_value eval_list(struct run *r, const struct tmpl_node *n)
{
    size_t count = 0;
    for (const struct tmpl_node *e = n->a; e; e = e->next)
        count++;
    struct tmpl_list *l = tmpl_list_new(r->ctx, count);
    if (!l)
        return tmpl_undefined(NULL);
    l->is_tuple = n->kind == TMPL_N_TUPLE;
    size_t i = 0;
    for (const struct tmpl_node *e = n->a; e && is_ok(r); e = e->next)
        l->v[i++] = eval(r, e);
    return tmpl_list(l);
}

static struct tmpl_value eval_dict(struct run *r, const struct tmpl_node *n)
{
    struct tmpl_map *m = tmpl_map_new(r->ctx);
    for (const struct tmpl_node *e = n->a; e && is_ok(r); e = e->next->next) {
        struct tmpl_value key = eval(r, e);
        struct tmpl_value v = eval(r, e->next);
        tmpl_map_set(r->ctx, m, key, v);
    }
    return is_ok(r) ? (struct tmpl_value){.kind = TMPL_MAP, .map = m} : tmpl_undefined(NULL);
}

static struct tmpl_value eval_logic(struct run *r, const struct tmpl_node *n)
{
    if (n->kind == TMPL_N_COND) {
        struct tmpl_value condition = eval(r, n->c);
        const struct tmpl_node *chosen = tmpl_is_true(&condition) ? n->a : n->b;
        return chosen ? eval(r, chosen) : tmpl_undefined("the other branch");
    }
    struct tmpl_value v = eval(r, n->a);
    if (n->kind == TMPL_N_NOT)
        return tmpl_bool(!tmpl_is_true(&v));
    return tmpl_is_true(&v) == (n->kind == TMPL_N_AND) ? eval(r, n->b) : v;
}

static struct tmpl_value eval_node(struct run *r, const struct tmpl_node *n)
{
    switch (n->kind) {
    case TMPL_N_LITERAL:
        return n->literal;
    case TMPL_N_NAME:
        return eval_name(r, n);
    case TMPL_N_LIST:
    case TMPL_N_TUPLE:
        return eval_list(r, n);
    case TMPL_N_DICT:
        return eval_dict(r, n);
    case TMPL_N_ATTR: {
        struct tmpl_value of = eval(r, n->a);
        return is_ok(r) ? attribute(r, n, &of) : of;
    }
    case TMPL_N_INDEX:
        return eval_index(r, n);
    case TMPL_N_SLICE:
        return eval_slice(r, n);
    case TMPL_N_CALL:
        return eval_call(r, n);
    case TMPL_N_METHOD:
    case TMPL_N_FILTER:
    case TMPL_N_TEST:
        return eval_builtin(r, n, n->callee);
    case TMPL_N_NOT:
    case TMPL_N_AND:
    case TMPL_N_OR:
    case TMPL_N_COND:
        return eval_logic(r, n);
    case TMPL_N_MINUS:
    case TMPL_N_PLUS:
        return eval_sign(r, n);
    case TMPL_N_CONCAT:
        return eval_chain(r, n);
    case TMPL_N_BINARY: {
        if (n->op == '+')
            return eval_chain(r, n);
        struct tmpl_value a = eval(r, n->a);
        struct tmpl_value b = eval(r, n->b);
        return is_ok(r) ? operate(r, n->op, &a, &b) : tmpl_undefined(NULL);
    }
    case TMPL_N_COMPARE:
        return eval_comparison(r, n);
    case TMPL_N_DATA:
    case TMPL_N_PRINT:
    case TMPL_N_SET:
    case TMPL_N_SET_BLOCK:
    case TMPL_N_GROUP:
    case TMPL_N_IF:
    case TMPL_N_FOR:
    case TMPL_N_BREAK:
    case TMPL_N_CONTINUE:
    case TMPL_N_MACRO:
    case TMPL_N_ARG:
        break;
    }
    return tmpl_fail(r->ctx, ERR_INTERNAL, "not an expression");
}

static struct tmpl_value eval(struct run *r, const struct tmpl_node *n)
{
    if (!tmpl_spend(r->ctx, 1))
        return tmpl_undefined(NULL);
    r->ctx->line = n->line;
    if (r->ctx->depth >= MAX_DEPTH)
        return tmpl_fail(r->ctx, ERR_DEPTH, "calls are nested too deeply");
    r->ctx->depth++;
    struct tmpl_value v = eval_node(r, n);
    r->ctx->depth--;
    return v;
}

/* ---- statements --------------------------------------------------------------------------------- */

static void exec_set(struct run *r, const struct tmpl_node *n)
{
    struct tmpl_value v = n->kind == TMPL_N_SET_BLOCK ? capture(r, n->b) : eval(r, n->a);
    const struct tmpl_node *target = n->names;
    if (!is_ok(r))
        return;
    if (target->kind == TMPL_N_NAME) {
        assign_targets(r, target, v);
        return;
    }
    struct tmpl_value of = eval(r, target->a);
    if (of.kind != TMPL_NAMESPACE || target->kind != TMPL_N_ATTR || target->next) {
        tmpl_fail(r->ctx, ERR_TEMPLATE, "only members of a namespace can be set");
        return;
    }
    tmpl_map_set(r->ctx, of.map, tmpl_text(r->ctx, str_from(target->name), TMPL_FROM_TEMPLATE), v);
}

/* The elements for which the loop's condition holds. */
static const struct tmpl_list *choose_items(struct run *r, const struct tmpl_node *n,
                                            const struct tmpl_list *all)
{
    if (!n->d)
        return all;
    struct tmpl_list *l = tmpl_list_new(r->ctx, all->n);
    struct frame own = {.outer = r->frame};
    size_t count = 0;
    r->frame = &own;
    for (size_t i = 0; l && i < all->n && is_ok(r); i++) {
        assign_targets(r, n->names, all->v[i]);
        struct tmpl_value holds = eval(r, n->d);
        if (tmpl_is_true(&holds))
            l->v[count++] = all->v[i];
    }
    r->frame = own.outer;
    if (!l)
        return all;
    l->n = count;
    return l;
}

static void exec_for(struct run *r, const struct tmpl_node *n)
{
    struct tmpl_value over = eval(r, n->a);
    const struct tmpl_list *items = is_ok(r) ? tmpl_items(r->ctx, &over) : NULL;
    if (!is_ok(r))
        return;
    items = choose_items(r, n, items);
    struct tmpl_loop *loop = tmpl_alloc(r->ctx, 1, sizeof *loop); /* values may outlive the loop */
    if (!loop)
        return;
    *loop = (struct tmpl_loop){.items = items, .depth0 = r->n_loops++};
    struct frame own = {.outer = r->frame};
    r->frame = &own;
    for (; loop->at < items->n && is_ok(r) && r->jump != JUMP_BREAK; loop->at++) {
        r->jump = JUMP_NONE;
        for (struct variable *v = own.first; v; v = v->next)
            v->is_set = false;
        if (r->name_loop)
            assign(r, &own, r->name_loop, (struct tmpl_value){.kind = TMPL_LOOP, .loop = loop});
        assign_targets(r, n->names, items->v[loop->at]);
        exec(r, n->b);
    }
    r->jump = JUMP_NONE;
    r->n_loops--;
    own.first = NULL;
    if (items->n == 0)
        exec(r, n->c);
    r->frame = own.outer;
}

static void exec_one(struct run *r, const struct tmpl_node *n)
{
    struct tmpl_value v;
    switch ((int)n->kind) {
    case TMPL_N_DATA:
        print(r, n->literal.text);
        break;
    case TMPL_N_PRINT:
        v = eval(r, n->a);
        if (is_ok(r))
            print(r, tmpl_format_str(r->ctx, &v));
        break;
    case TMPL_N_SET:
    case TMPL_N_SET_BLOCK:
        exec_set(r, n);
        break;
    case TMPL_N_GROUP:
        exec(r, n->b);
        break;
    case TMPL_N_IF:
        v = eval(r, n->a);
        exec(r, tmpl_is_true(&v) ? n->b : n->c);
        break;
    case TMPL_N_FOR:
        exec_for(r, n);
        break;
    case TMPL_N_BREAK:
        r->jump = JUMP_BREAK;
        break;
    case TMPL_N_CONTINUE:
        r->jump = JUMP_CONTINUE;
        break;
    case TMPL_N_MACRO:
        assign(r, r->frame, n->name, (struct tmpl_value){.kind = TMPL_MACRO, .macro = n});
        break;
    default:
        tmpl_fail(r->ctx, ERR_INTERNAL, "not a statement");
        break;
    }
}

static void exec(struct run *r, const struct tmpl_node *list)
{
    for (; list && is_ok(r) && r->jump == JUMP_NONE; list = list->next) {
        if (!tmpl_spend(r->ctx, 1))
            return;
        r->ctx->line = list->line;
        exec_one(r, list);
    }
}

bool tmpl_eval(struct tmpl_ctx *ctx, const struct tmpl_tree *tree,
               const struct tmpl_variable *variables, size_t n_variables, struct tmpl_output *out)
{
    struct frame global = {0};
    struct run r = {.ctx = ctx, .frame = &global, .global = &global, .out = out};
    r.name_loop = tmpl_tree_name(tree, STR_LIT("loop"));
    for (size_t i = 0; i < n_variables; i++)
        assign(&r, &global, variables[i].name, variables[i].value);
    exec(&r, tree->body);
    return ctx->err == ERR_OK;
}
