/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_call.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "services/tokenizer/tmpl_format.h"
#include "services/tokenizer/tmpl_string.h"

/* The head of a tmpl_function. */
#define FUNCTION(name)                                                                             \
    static struct tmpl_value name(struct tmpl_ctx *ctx, const struct tmpl_value *self,             \
                                  const struct tmpl_value *args)

#define UNUSED(x) (void)(x)

static bool is_given(const struct tmpl_value *arg)
{
    return arg->kind != TMPL_UNDEFINED && arg->kind != TMPL_NONE;
}

/* The text of an argument; NULL if it is not given. */
static const struct tmpl_text *text_arg(struct tmpl_ctx *ctx, const struct tmpl_value *arg)
{
    return is_given(arg) ? tmpl_format_str(ctx, arg) : NULL;
}

static int64_t int_arg(struct tmpl_ctx *ctx, const struct tmpl_value *arg, int64_t otherwise)
{
    if (!is_given(arg))
        return otherwise;
    if (arg->kind == TMPL_BOOL)
        return arg->boolean;
    if (arg->kind != TMPL_INT) {
        tmpl_fail(ctx, ERR_TEMPLATE, "expected an integer, not %s", tmpl_kind_name(arg));
        return otherwise;
    }
    return arg->integer;
}

/* ---- filters: texts ----------------------------------------------------------------------------- */

FUNCTION(filter_trim)
{
    return tmpl_string_strip(ctx, tmpl_format_str(ctx, self), text_arg(ctx, &args[0]), true, true);
}

FUNCTION(filter_upper)
{
    UNUSED(args);
    return tmpl_string_case(ctx, tmpl_format_str(ctx, self), TMPL_UPPER);
}

FUNCTION(filter_lower)
{
    UNUSED(args);
    return tmpl_string_case(ctx, tmpl_format_str(ctx, self), TMPL_LOWER);
}

FUNCTION(filter_capitalize)
{
    UNUSED(args);
    return tmpl_string_case(ctx, tmpl_format_str(ctx, self), TMPL_CAPITALIZE);
}

FUNCTION(filter_title)
{
    UNUSED(args);
    return tmpl_string_case(ctx, tmpl_format_str(ctx, self), TMPL_TITLE_FILTER);
}

FUNCTION(filter_replace)
{
    return tmpl_string_replace(ctx, tmpl_format_str(ctx, self), tmpl_format_str(ctx, &args[0]),
                               tmpl_format_str(ctx, &args[1]), int_arg(ctx, &args[2], -1));
}

FUNCTION(filter_string)
{
    UNUSED(args);
    return (struct tmpl_value){.kind = TMPL_TEXT, .text = tmpl_format_str(ctx, self)};
}

FUNCTION(filter_indent)
{
    int64_t width = int_arg(ctx, &args[0], 4);
    if (width < 0 || width > 1000)
        return tmpl_fail(ctx, ERR_TEMPLATE, "cannot indent by so much");
    return tmpl_string_indent(ctx, tmpl_format_str(ctx, self), (size_t)width,
                              tmpl_is_true(&args[1]), tmpl_is_true(&args[2]));
}

FUNCTION(filter_tojson)
{
    struct tmpl_format_json how = {
        .indent = -1,
        .is_ascii = tmpl_is_true(&args[0]),
        .is_sorted = tmpl_is_true(&args[3]),
        .item_separator = STR_LIT(", "),
        .key_separator = STR_LIT(": "),
    };
    if (is_given(&args[1])) {
        int64_t indent = int_arg(ctx, &args[1], 0);
        if (indent < 0 || indent > 16)
            return tmpl_fail(ctx, ERR_TEMPLATE, "cannot indent by so much");
        how.indent = (int)indent;
        how.item_separator = STR_LIT(",");
    }
    if (is_given(&args[2])) {
        const struct tmpl_list *l = tmpl_items(ctx, &args[2]);
        if (l->n != 2)
            return tmpl_fail(ctx, ERR_TEMPLATE, "tojson needs two separators");
        const struct tmpl_text *item = tmpl_format_str(ctx, &l->v[0]);
        const struct tmpl_text *key = tmpl_format_str(ctx, &l->v[1]);
        how.item_separator = (struct str){item->ptr, item->len};
        how.key_separator = (struct str){key->ptr, key->len};
    }
    return tmpl_format_json(ctx, self, &how);
}

/* ---- filters: numbers and choices --------------------------------------------------------------- */

FUNCTION(filter_int)
{
    UNUSED(ctx);
    if (self->kind == TMPL_INT || self->kind == TMPL_BOOL)
        return tmpl_int(self->kind == TMPL_INT ? self->integer : self->boolean);
    if (self->kind == TMPL_FLOAT && self->real > -9e18 && self->real < 9e18)
        return tmpl_int((int64_t)self->real);
    char digits[32];
    if (self->kind == TMPL_TEXT && self->text->len > 0 && self->text->len < sizeof digits) {
        char *rest;
        memcpy(digits, self->text->ptr, self->text->len);
        digits[self->text->len] = '\0';
        double d = strtod(digits, &rest);
        if (*rest == '\0' && d > -9e15 && d < 9e15)
            return tmpl_int((int64_t)d);
    }
    return args[0].kind == TMPL_UNDEFINED ? tmpl_int(0) : args[0];
}

FUNCTION(filter_float)
{
    UNUSED(ctx);
    if (self->kind == TMPL_INT || self->kind == TMPL_BOOL)
        return tmpl_real(self->kind == TMPL_INT ? (double)self->integer : self->boolean);
    if (self->kind == TMPL_FLOAT)
        return *self;
    char digits[64];
    if (self->kind == TMPL_TEXT && self->text->len > 0 && self->text->len < sizeof digits) {
        char *rest;
        memcpy(digits, self->text->ptr, self->text->len);
        digits[self->text->len] = '\0';
        double d = strtod(digits, &rest);
        if (*rest == '\0')
            return tmpl_real(d);
    }
    return args[0].kind == TMPL_UNDEFINED ? tmpl_real(0.0) : args[0];
}

FUNCTION(filter_abs)
{
    UNUSED(args);
    if (self->kind == TMPL_INT && self->integer != INT64_MIN)
        return tmpl_int(self->integer < 0 ? -self->integer : self->integer);
    if (self->kind == TMPL_FLOAT)
        return tmpl_real(self->real < 0 ? -self->real : self->real);
    return tmpl_fail(ctx, ERR_TEMPLATE, "abs needs a number, not %s", tmpl_kind_name(self));
}

FUNCTION(filter_default)
{
    bool is_missing =
        self->kind == TMPL_UNDEFINED || (tmpl_is_true(&args[1]) && !tmpl_is_true(self));
    if (!is_missing)
        return *self;
    return args[0].kind == TMPL_UNDEFINED ? tmpl_text(ctx, STR_LIT(""), TMPL_FROM_TEMPLATE)
                                          : args[0];
}

FUNCTION(filter_same)
{
    UNUSED(ctx);
    UNUSED(args);
    return *self;
}

FUNCTION(filter_length)
{
    UNUSED(args);
    return tmpl_int((int64_t)tmpl_length(ctx, self));
}

/* ---- filters: lists and maps -------------------------------------------------------------------- */

static struct tmpl_value lazy(struct tmpl_list *l)
{
    if (l)
        l->is_lazy = true;
    return tmpl_list(l);
}

FUNCTION(filter_list)
{
    UNUSED(args);
    const struct tmpl_list *in = tmpl_items(ctx, self);
    struct tmpl_list *l = tmpl_list_new(ctx, in->n);
    if (l && in->n > 0)
        memcpy(l->v, in->v, in->n * sizeof *l->v);
    return tmpl_list(l);
}

FUNCTION(filter_first)
{
    UNUSED(args);
    const struct tmpl_list *l = tmpl_items(ctx, self);
    return l->n > 0 ? l->v[0] : tmpl_undefined("the first element of nothing");
}

FUNCTION(filter_last)
{
    UNUSED(args);
    const struct tmpl_list *l = tmpl_items(ctx, self);
    return l->n > 0 ? l->v[l->n - 1] : tmpl_undefined("the last element of nothing");
}

FUNCTION(filter_reverse)
{
    UNUSED(args);
    struct tmpl_value none = tmpl_none();
    struct tmpl_value step = tmpl_int(-1);
    if (self->kind == TMPL_TEXT || self->kind == TMPL_LIST)
        return tmpl_slice(ctx, self, &none, &none, &step);
    struct tmpl_value items = tmpl_list(tmpl_items(ctx, self));
    return tmpl_slice(ctx, &items, &none, &none, &step);
}

static struct tmpl_value pair_of(struct tmpl_ctx *ctx, const struct tmpl_entry *e)
{
    struct tmpl_list *l = tmpl_list_new(ctx, 2);
    if (l) {
        l->is_tuple = true;
        l->v[0] = e->key;
        l->v[1] = e->value;
    }
    return tmpl_list(l);
}

FUNCTION(filter_items)
{
    UNUSED(args);
    if (self->kind != TMPL_MAP && self->kind != TMPL_UNDEFINED)
        return tmpl_fail(ctx, ERR_TEMPLATE, "%s has no items", tmpl_kind_name(self));
    size_t n = self->kind == TMPL_MAP ? self->map->n : 0;
    struct tmpl_list *l = tmpl_list_new(ctx, n);
    for (size_t i = 0; l && i < n; i++)
        l->v[i] = pair_of(ctx, &self->map->v[i]);
    return lazy(l);
}

/* "a.b" of v; undefined where there is no such thing. */
static struct tmpl_value attribute_of(struct tmpl_ctx *ctx, struct tmpl_value v, struct str path)
{
    while (ctx->err == ERR_OK) {
        const char *dot = path.len > 0 ? memchr(path.ptr, '.', path.len) : NULL;
        struct str name = {path.ptr, dot ? (size_t)(dot - path.ptr) : path.len};
        const struct tmpl_value *found = v.kind == TMPL_MAP ? tmpl_map_get(v.map, name) : NULL;
        if (v.kind == TMPL_LIST && name.len == 1 && name.ptr[0] >= '0' && name.ptr[0] <= '9') {
            struct tmpl_value index = tmpl_int(name.ptr[0] - '0');
            v = tmpl_index(ctx, &v, &index);
        } else {
            v = found ? *found : tmpl_undefined("an attribute");
        }
        if (!dot)
            return v;
        path.len -= name.len + 1;
        path.ptr = dot + 1;
    }
    return v;
}

FUNCTION(filter_join)
{
    const struct tmpl_list *l = tmpl_items(ctx, self);
    const struct tmpl_text *by = text_arg(ctx, &args[0]);
    const struct tmpl_text *attribute = text_arg(ctx, &args[1]);
    const struct tmpl_text **parts = tmpl_text_parts(ctx, 2 * l->n);
    if (!parts)
        return tmpl_undefined(NULL);
    size_t n = 0;
    for (size_t i = 0; i < l->n && ctx->err == ERR_OK; i++) {
        struct tmpl_value v = l->v[i];
        if (attribute)
            v = attribute_of(ctx, v, (struct str){attribute->ptr, attribute->len});
        if (i > 0 && by)
            parts[n++] = by;
        parts[n++] = tmpl_format_str(ctx, &v);
    }
    return ctx->err == ERR_OK ? tmpl_text_join(ctx, parts, n) : tmpl_undefined(NULL);
}

FUNCTION(filter_map)
{
    const struct tmpl_list *in = tmpl_items(ctx, self);
    const struct tmpl_text *name = text_arg(ctx, &args[0]);
    const struct tmpl_text *attribute = text_arg(ctx, &args[3]);
    const struct tmpl_callee *filter =
        name ? tmpl_callee_find(TMPL_FILTER, (struct str){name->ptr, name->len}) : NULL;
    if (!filter && !attribute)
        return tmpl_fail(ctx, ERR_UNSUPPORTED, "map needs the name of a filter or an attribute");
    struct tmpl_list *out = tmpl_list_new(ctx, in->n);
    struct tmpl_args more = {.n = is_given(&args[2])   ? 2
                                  : is_given(&args[1]) ? 1
                                                       : 0,
                             .v = args + 1};
    for (size_t i = 0; out && i < in->n && ctx->err == ERR_OK; i++) {
        if (filter)
            out->v[i] = tmpl_callee_call(ctx, filter, &in->v[i], &more);
        else
            out->v[i] = attribute_of(ctx, in->v[i], (struct str){attribute->ptr, attribute->len});
        if (out->v[i].kind == TMPL_UNDEFINED && is_given(&args[4]))
            out->v[i] = args[4];
    }
    return lazy(out);
}

/* The elements for which a test holds (or does not). `attribute` may be NULL; args are the test's name
 * and its argument; without a name the elements themselves are asked. */
static struct tmpl_value choose(struct tmpl_ctx *ctx, const struct tmpl_value *self,
                                const struct tmpl_text *attribute, const struct tmpl_value *args,
                                bool wanted)
{
    const struct tmpl_list *in = tmpl_items(ctx, self);
    const struct tmpl_text *name = text_arg(ctx, &args[0]);
    const struct tmpl_callee *test =
        name ? tmpl_callee_find(TMPL_TEST, (struct str){name->ptr, name->len}) : NULL;
    if (name && !test)
        return tmpl_fail(ctx, ERR_UNSUPPORTED, "test '%.*s' is not supported", (int)name->len,
                         name->ptr);
    struct tmpl_list *out = tmpl_list_new(ctx, in->n);
    struct tmpl_args more = {.n = args[1].kind != TMPL_UNDEFINED ? 1 : 0, .v = args + 1};
    size_t n = 0;
    for (size_t i = 0; out && i < in->n && tmpl_spend(ctx, 1); i++) {
        struct tmpl_value v = in->v[i];
        if (attribute)
            v = attribute_of(ctx, v, (struct str){attribute->ptr, attribute->len});
        if (test)
            v = tmpl_callee_call(ctx, test, &v, &more);
        if (tmpl_is_true(&v) == wanted)
            out->v[n++] = in->v[i];
    }
    if (out)
        out->n = n;
    return lazy(out);
}

FUNCTION(filter_select)
{
    return choose(ctx, self, NULL, args, true);
}

FUNCTION(filter_reject)
{
    return choose(ctx, self, NULL, args, false);
}

FUNCTION(filter_selectattr)
{
    return choose(ctx, self, tmpl_format_str(ctx, &args[0]), args + 1, true);
}

FUNCTION(filter_rejectattr)
{
    return choose(ctx, self, tmpl_format_str(ctx, &args[0]), args + 1, false);
}

/* An element and what it is ordered by. */
struct keyed {
    struct tmpl_value key;
    struct tmpl_value value;
};

static int by_key(const void *a, const void *b, void *ctx)
{
    const struct keyed *x = a;
    const struct keyed *y = b;
    return tmpl_compare(ctx, &x->key, &y->key);
}

/* Texts are ordered without regard to case, as Jinja does. glibc's qsort_r keeps equals in order. */
static struct tmpl_value sort(struct tmpl_ctx *ctx, const struct tmpl_list *in,
                              const struct tmpl_text *attribute, bool with_case, bool is_reversed)
{
    struct keyed *v = tmpl_alloc(ctx, in->n, sizeof *v);
    struct tmpl_list *out = tmpl_list_new(ctx, in->n);
    if (!v || !out || !tmpl_spend(ctx, 8 * in->n))
        return tmpl_undefined(NULL);
    for (size_t i = 0; i < in->n; i++) {
        size_t from = is_reversed ? in->n - 1 - i : i;
        v[i] = (struct keyed){in->v[from], in->v[from]};
        if (attribute)
            v[i].key = attribute_of(ctx, v[i].key, (struct str){attribute->ptr, attribute->len});
        if (v[i].key.kind == TMPL_TEXT && !with_case)
            v[i].key = tmpl_string_case(ctx, v[i].key.text, TMPL_LOWER);
    }
    if (ctx->err == ERR_OK)
        qsort_r(v, in->n, sizeof *v, by_key, ctx);
    for (size_t i = 0; i < in->n; i++)
        out->v[is_reversed ? in->n - 1 - i : i] = v[i].value;
    return tmpl_list(out);
}

FUNCTION(filter_sort)
{
    return sort(ctx, tmpl_items(ctx, self), text_arg(ctx, &args[2]), tmpl_is_true(&args[1]),
                tmpl_is_true(&args[0]));
}

FUNCTION(filter_dictsort)
{
    struct tmpl_value items = filter_items(ctx, self, args);
    bool is_by_value = tmpl_is_text(&args[1], "value");
    const struct tmpl_text at = {is_by_value ? "1" : "0", 1, NULL, TMPL_FROM_TEMPLATE};
    if (items.kind != TMPL_LIST)
        return items;
    return sort(ctx, items.list, &at, tmpl_is_true(&args[0]), tmpl_is_true(&args[2]));
}

static const struct tmpl_callee FILTERS[] = {
    {"abs", filter_abs, 0, 0, {NULL}},
    {"capitalize", filter_capitalize, 0, 0, {NULL}},
    {"count", filter_length, 0, 0, {NULL}},
    {"d", filter_default, 0, 0, {"default_value", "boolean"}},
    {"default", filter_default, 0, 0, {"default_value", "boolean"}},
    {"dictsort", filter_dictsort, 0, 0, {"case_sensitive", "by", "reverse"}},
    {"first", filter_first, 0, 0, {NULL}},
    {"float", filter_float, 0, 0, {"default"}},
    {"indent", filter_indent, 0, 0, {"width", "first", "blank"}},
    {"int", filter_int, 0, 0, {"default"}},
    {"items", filter_items, 0, 0, {NULL}},
    {"join", filter_join, 0, 0, {"d", "attribute"}},
    {"last", filter_last, 0, 0, {NULL}},
    {"length", filter_length, 0, 0, {NULL}},
    {"list", filter_list, 0, 0, {NULL}},
    {"lower", filter_lower, 0, 0, {NULL}},
    {"map", filter_map, 0, 0, {"", "", "", "attribute", "default"}},
    {"reject", filter_reject, 0, 0, {"", ""}},
    {"rejectattr", filter_rejectattr, 0, 1, {"", "", ""}},
    {"replace", filter_replace, 0, 2, {"old", "new", "count"}},
    {"reverse", filter_reverse, 0, 0, {NULL}},
    {"safe", filter_same, 0, 0, {NULL}},
    {"select", filter_select, 0, 0, {"", ""}},
    {"selectattr", filter_selectattr, 0, 1, {"", "", ""}},
    {"sort", filter_sort, 0, 0, {"reverse", "case_sensitive", "attribute"}},
    {"string", filter_string, 0, 0, {NULL}},
    {"title", filter_title, 0, 0, {NULL}},
    {"tojson", filter_tojson, 0, 0, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {"trim", filter_trim, 0, 0, {"chars"}},
    {"upper", filter_upper, 0, 0, {NULL}},
};

/* ---- tests -------------------------------------------------------------------------------------- */

/* A test that needs nothing but the value. */
#define TEST(name, condition)                                                                      \
    FUNCTION(test_##name)                                                                          \
    {                                                                                              \
        UNUSED(ctx);                                                                               \
        UNUSED(self);                                                                              \
        UNUSED(args);                                                                              \
        return tmpl_bool(condition);                                                               \
    }

static bool is_divisible(struct tmpl_ctx *ctx, const struct tmpl_value *v, int64_t by)
{
    if (v->kind != TMPL_INT && v->kind != TMPL_BOOL) {
        tmpl_fail(ctx, ERR_TEMPLATE, "%s cannot be divided", tmpl_kind_name(v));
        return false;
    }
    if (by == 0)
        tmpl_fail(ctx, ERR_TEMPLATE, "division by zero");
    return by == -1 || (by != 0 && (v->kind == TMPL_INT ? v->integer : v->boolean) % by == 0);
}

bool tmpl_contains(struct tmpl_ctx *ctx, const struct tmpl_value *all, const struct tmpl_value *v)
{
    if (v->kind == TMPL_TEXT && all->kind == TMPL_TEXT)
        return tmpl_string_find(all->text, v->text, 0) != SIZE_MAX;
    if (all->kind == TMPL_MAP)
        return tmpl_map_find(ctx, all->map, v) != NULL;
    if (all->kind == TMPL_TEXT) {
        tmpl_fail(ctx, ERR_TEMPLATE, "%s cannot be in a string", tmpl_kind_name(v));
        return false;
    }
    const struct tmpl_list *l = tmpl_items(ctx, all);
    for (size_t i = 0; i < l->n && tmpl_spend(ctx, 1); i++) {
        if (tmpl_equal(ctx, &l->v[i], v))
            return true;
    }
    return false;
}

static bool has_case(struct tmpl_ctx *ctx, const struct tmpl_value *v, char from, char to)
{
    const struct tmpl_text *t = tmpl_format_str(ctx, v);
    bool has_letter = false;
    for (size_t i = 0; i < t->len; i++) {
        char c = t->ptr[i];
        if (c >= from && c <= to)
            return false;
        has_letter |= (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    }
    return has_letter;
}

TEST(defined, self->kind != TMPL_UNDEFINED)
TEST(undefined, self->kind == TMPL_UNDEFINED)
TEST(none, self->kind == TMPL_NONE)
TEST(boolean, self->kind == TMPL_BOOL)
TEST(true, self->kind == TMPL_BOOL && self->boolean)
TEST(false, self->kind == TMPL_BOOL && !self->boolean)
TEST(integer, self->kind == TMPL_INT)
TEST(float, self->kind == TMPL_FLOAT)
TEST(number, self->kind == TMPL_INT || self->kind == TMPL_FLOAT || self->kind == TMPL_BOOL)
TEST(string, self->kind == TMPL_TEXT)
TEST(mapping, self->kind == TMPL_MAP)
TEST(sequence, self->kind == TMPL_TEXT || self->kind == TMPL_LIST || self->kind == TMPL_MAP ||
                   self->kind == TMPL_UNDEFINED)
TEST(iterable, self->kind == TMPL_TEXT || self->kind == TMPL_LIST || self->kind == TMPL_MAP ||
                   self->kind == TMPL_LOOP || self->kind == TMPL_UNDEFINED)
TEST(callable, self->kind == TMPL_MACRO || self->kind == TMPL_FUNCTION)
TEST(odd, !is_divisible(ctx, self, 2))
TEST(even, is_divisible(ctx, self, 2))
TEST(divisibleby, is_divisible(ctx, self, int_arg(ctx, &args[0], 0)))
TEST(eq, tmpl_equal(ctx, self, &args[0]))
TEST(ne, !tmpl_equal(ctx, self, &args[0]))
TEST(lt, tmpl_compare(ctx, self, &args[0]) < 0)
TEST(gt, tmpl_compare(ctx, self, &args[0]) > 0)
TEST(le, tmpl_compare(ctx, self, &args[0]) <= 0)
TEST(ge, tmpl_compare(ctx, self, &args[0]) >= 0)
TEST(in, tmpl_contains(ctx, &args[0], self))
TEST(lower, has_case(ctx, self, 'A', 'Z'))
TEST(upper, has_case(ctx, self, 'a', 'z'))

static const struct tmpl_callee TESTS[] = {
    {"boolean", test_boolean, 0, 0, {NULL}},
    {"callable", test_callable, 0, 0, {NULL}},
    {"defined", test_defined, 0, 0, {NULL}},
    {"divisibleby", test_divisibleby, 0, 1, {"num"}},
    {"eq", test_eq, 0, 1, {""}},
    {"equalto", test_eq, 0, 1, {""}},
    {"even", test_even, 0, 0, {NULL}},
    {"false", test_false, 0, 0, {NULL}},
    {"float", test_float, 0, 0, {NULL}},
    {"ge", test_ge, 0, 1, {""}},
    {"greaterthan", test_gt, 0, 1, {""}},
    {"gt", test_gt, 0, 1, {""}},
    {"in", test_in, 0, 1, {""}},
    {"integer", test_integer, 0, 0, {NULL}},
    {"iterable", test_iterable, 0, 0, {NULL}},
    {"le", test_le, 0, 1, {""}},
    {"lessthan", test_lt, 0, 1, {""}},
    {"lower", test_lower, 0, 0, {NULL}},
    {"lt", test_lt, 0, 1, {""}},
    {"mapping", test_mapping, 0, 0, {NULL}},
    {"ne", test_ne, 0, 1, {""}},
    {"none", test_none, 0, 0, {NULL}},
    {"number", test_number, 0, 0, {NULL}},
    {"odd", test_odd, 0, 0, {NULL}},
    {"sequence", test_sequence, 0, 0, {NULL}},
    {"string", test_string, 0, 0, {NULL}},
    {"true", test_true, 0, 0, {NULL}},
    {"undefined", test_undefined, 0, 0, {NULL}},
    {"upper", test_upper, 0, 0, {NULL}},
};

/* ---- methods ------------------------------------------------------------------------------------ */

/* The head of a method of strings. */
#define STRING_METHOD(name, ...)                                                                   \
    FUNCTION(method_##name)                                                                        \
    {                                                                                              \
        UNUSED(args);                                                                              \
        if (self->kind != TMPL_TEXT)                                                               \
            return tmpl_fail(ctx, ERR_TEMPLATE, "%s has no method " #name, tmpl_kind_name(self));  \
        const struct tmpl_text *t = self->text;                                                    \
        __VA_ARGS__                                                                                \
    }

/* Whether t begins (or ends) with v, or with one of the texts in the list v. */
static bool has_affix(struct tmpl_ctx *ctx, const struct tmpl_text *t, const struct tmpl_value *v,
                      bool at_end)
{
    struct tmpl_value copy = *v;
    const struct tmpl_list one = {.n = 1, .v = &copy};
    const struct tmpl_list *l = v->kind == TMPL_LIST ? v->list : &one;
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i].kind != TMPL_TEXT) {
            tmpl_fail(ctx, ERR_TEMPLATE, "expected a string, not %s", tmpl_kind_name(&l->v[i]));
            return false;
        }
        struct str affix = tmpl_str(&l->v[i]);
        const char *at = at_end && affix.len <= t->len ? t->ptr + t->len - affix.len : t->ptr;
        if (affix.len <= t->len && memcmp(at, affix.ptr, affix.len) == 0)
            return true;
    }
    return false;
}

/* Number of characters before byte `at`, -1 for SIZE_MAX. */
static int64_t chars_before(struct tmpl_ctx *ctx, const struct tmpl_text *t, size_t at)
{
    if (at == SIZE_MAX)
        return -1;
    struct tmpl_value head = tmpl_text_part(ctx, t, 0, at);
    return (int64_t)tmpl_length(ctx, &head);
}

static int64_t count_of(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                        const struct tmpl_text *part)
{
    int64_t n = 0;
    if (part->len == 0)
        return chars_before(ctx, t, t->len) + 1;
    for (size_t at = 0; (at = tmpl_string_find(t, part, at)) != SIZE_MAX; at += part->len)
        n++;
    return n;
}

static struct tmpl_value without_affix(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                       const struct tmpl_value *affix, bool at_end)
{
    if (!has_affix(ctx, t, affix, at_end) || affix->kind != TMPL_TEXT)
        return (struct tmpl_value){.kind = TMPL_TEXT, .text = t};
    size_t n = affix->text->len;
    return at_end ? tmpl_text_part(ctx, t, 0, t->len - n) : tmpl_text_part(ctx, t, n, t->len);
}

static bool is_all_digits(const struct tmpl_text *t)
{
    for (size_t i = 0; i < t->len; i++) {
        if (t->ptr[i] < '0' || t->ptr[i] > '9')
            return false;
    }
    return t->len > 0;
}

STRING_METHOD(strip, return tmpl_string_strip(ctx, t, text_arg(ctx, &args[0]), true, true);)
STRING_METHOD(lstrip, return tmpl_string_strip(ctx, t, text_arg(ctx, &args[0]), true, false);)
STRING_METHOD(rstrip, return tmpl_string_strip(ctx, t, text_arg(ctx, &args[0]), false, true);)
STRING_METHOD(split, return tmpl_string_split(ctx, t, text_arg(ctx, &args[0]),
                                              int_arg(ctx, &args[1], -1), false);)
STRING_METHOD(rsplit, return tmpl_string_split(ctx, t, text_arg(ctx, &args[0]),
                                               int_arg(ctx, &args[1], -1), true);)
STRING_METHOD(startswith, return tmpl_bool(has_affix(ctx, t, &args[0], false));)
STRING_METHOD(endswith, return tmpl_bool(has_affix(ctx, t, &args[0], true));)
STRING_METHOD(removeprefix, return without_affix(ctx, t, &args[0], false);)
STRING_METHOD(removesuffix, return without_affix(ctx, t, &args[0], true);)
STRING_METHOD(upper, return tmpl_string_case(ctx, t, TMPL_UPPER);)
STRING_METHOD(lower, return tmpl_string_case(ctx, t, TMPL_LOWER);)
STRING_METHOD(title, return tmpl_string_case(ctx, t, TMPL_TITLE);)
STRING_METHOD(capitalize, return tmpl_string_case(ctx, t, TMPL_CAPITALIZE);)
STRING_METHOD(replace, UNUSED(t); return filter_replace(ctx, self, args);)
STRING_METHOD(find, return tmpl_int(chars_before(
                        ctx, t, tmpl_string_find(t, tmpl_format_str(ctx, &args[0]), 0)));)
STRING_METHOD(count, return tmpl_int(count_of(ctx, t, tmpl_format_str(ctx, &args[0])));)
STRING_METHOD(isdigit, return tmpl_bool(is_all_digits(t));)
STRING_METHOD(join, UNUSED(t);
              return filter_join(ctx, &args[0], (const struct tmpl_value[]){*self, tmpl_none()});)

FUNCTION(method_items)
{
    if (self->kind != TMPL_MAP)
        return tmpl_fail(ctx, ERR_TEMPLATE, "%s has no method items", tmpl_kind_name(self));
    return filter_items(ctx, self, args);
}

FUNCTION(method_keys)
{
    UNUSED(args);
    if (self->kind != TMPL_MAP)
        return tmpl_fail(ctx, ERR_TEMPLATE, "%s has no method keys", tmpl_kind_name(self));
    return tmpl_list(tmpl_items(ctx, self));
}

FUNCTION(method_values)
{
    UNUSED(args);
    if (self->kind != TMPL_MAP)
        return tmpl_fail(ctx, ERR_TEMPLATE, "%s has no method values", tmpl_kind_name(self));
    struct tmpl_list *l = tmpl_list_new(ctx, self->map->n);
    for (size_t i = 0; l && i < l->n; i++)
        l->v[i] = self->map->v[i].value;
    return tmpl_list(l);
}

FUNCTION(method_get)
{
    if (self->kind != TMPL_MAP)
        return tmpl_fail(ctx, ERR_TEMPLATE, "%s has no method get", tmpl_kind_name(self));
    const struct tmpl_value *found = tmpl_map_find(ctx, self->map, &args[0]);
    if (found)
        return *found;
    return args[1].kind == TMPL_UNDEFINED ? tmpl_none() : args[1];
}

static const struct tmpl_callee METHODS[] = {
    {"capitalize", method_capitalize, 0, 0, {NULL}},
    {"count", method_count, 0, 1, {""}},
    {"endswith", method_endswith, 0, 1, {""}},
    {"find", method_find, 0, 1, {""}},
    {"get", method_get, 0, 1, {"", ""}},
    {"isdigit", method_isdigit, 0, 0, {NULL}},
    {"items", method_items, 0, 0, {NULL}},
    {"join", method_join, 0, 1, {""}},
    {"keys", method_keys, 0, 0, {NULL}},
    {"lower", method_lower, 0, 0, {NULL}},
    {"lstrip", method_lstrip, 0, 0, {""}},
    {"removeprefix", method_removeprefix, 0, 1, {""}},
    {"removesuffix", method_removesuffix, 0, 1, {""}},
    {"replace", method_replace, 0, 2, {"", "", "count"}},
    {"rsplit", method_rsplit, 0, 0, {"sep", "maxsplit"}},
    {"rstrip", method_rstrip, 0, 0, {""}},
    {"split", method_split, 0, 0, {"sep", "maxsplit"}},
    {"startswith", method_startswith, 0, 1, {""}},
    {"strip", method_strip, 0, 0, {""}},
    {"title", method_title, 0, 0, {NULL}},
    {"upper", method_upper, 0, 0, {NULL}},
    {"values", method_values, 0, 0, {NULL}},
};

/* ---- functions ---------------------------------------------------------------------------------- */

FUNCTION(global_range)
{
    UNUSED(self);
    bool has_start = is_given(&args[1]);
    int64_t start = has_start ? int_arg(ctx, &args[0], 0) : 0;
    int64_t stop = int_arg(ctx, has_start ? &args[1] : &args[0], 0);
    int64_t step = int_arg(ctx, &args[2], 1);
    int64_t most = (int64_t)1 << 40;
    if (step == 0 || start > most || start < -most || stop > most || stop < -most || step > most ||
        step < -most)
        return tmpl_fail(ctx, ERR_TEMPLATE, "range has no such bounds");
    int64_t n = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
    if (n > TMPL_MAX_RANGE)
        return tmpl_fail(ctx, ERR_TOO_LARGE, "range is longer than %d", TMPL_MAX_RANGE);
    struct tmpl_list *l = tmpl_list_new(ctx, n > 0 ? (size_t)n : 0);
    for (size_t i = 0; l && i < l->n; i++)
        l->v[i] = tmpl_int(start + (int64_t)i * step);
    return tmpl_list(l);
}

FUNCTION(global_raise_exception)
{
    UNUSED(self);
    const struct tmpl_text *message = tmpl_format_str(ctx, &args[0]);
    return tmpl_fail(ctx, ERR_TEMPLATE, "%.*s", (int)(message->len < 300 ? message->len : 300),
                     message->ptr);
}

static const struct tmpl_callee GLOBALS[] = {
    {"dict", NULL, TMPL_MAP, 0, {NULL}},
    {"namespace", NULL, TMPL_NAMESPACE, 0, {NULL}},
    {"raise_exception", global_raise_exception, 0, 1, {"message"}},
    {"range", global_range, 0, 1, {"", "", ""}},
};

/* ---- finding and calling ------------------------------------------------------------------------ */

const struct tmpl_callee *tmpl_callee_find(enum tmpl_call_kind kind, struct str name)
{
    static const struct {
        const struct tmpl_callee *rows;
        size_t n;
    } TABLES[] = {
        [TMPL_FILTER] = {FILTERS, ARRAY_LEN(FILTERS)},
        [TMPL_TEST] = {TESTS, ARRAY_LEN(TESTS)},
        [TMPL_METHOD] = {METHODS, ARRAY_LEN(METHODS)},
        [TMPL_GLOBAL] = {GLOBALS, ARRAY_LEN(GLOBALS)},
    };
    for (size_t i = 0; i < TABLES[kind].n; i++) {
        if (str_is(name, TABLES[kind].rows[i].name))
            return &TABLES[kind].rows[i];
    }
    return NULL;
}

/* Position of a named parameter, TMPL_MAX_PARAMS if there is none. */
static size_t param_of(const struct tmpl_callee *callee, struct str name)
{
    size_t i = 0;
    while (i < TMPL_MAX_PARAMS && callee->params[i] && !str_is(name, callee->params[i]))
        i++;
    return i < TMPL_MAX_PARAMS && callee->params[i] ? i : TMPL_MAX_PARAMS;
}

static size_t count_params(const struct tmpl_callee *callee)
{
    size_t n = 0;
    while (n < TMPL_MAX_PARAMS && callee->params[n])
        n++;
    return n;
}

static struct tmpl_value make(struct tmpl_ctx *ctx, const struct tmpl_callee *callee,
                              const struct tmpl_args *args)
{
    if (args->n > 0)
        return tmpl_fail(ctx, ERR_UNSUPPORTED, "%s takes named arguments only", callee->name);
    struct tmpl_map *map = tmpl_map_new(ctx);
    for (size_t i = 0; map && i < args->n_named; i++)
        tmpl_map_set(ctx, map, args->named[i].key, args->named[i].value);
    return ctx->err == ERR_OK ? (struct tmpl_value){.kind = callee->makes, .map = map}
                              : tmpl_undefined(NULL);
}

struct tmpl_value tmpl_callee_call(struct tmpl_ctx *ctx, const struct tmpl_callee *callee,
                                   const struct tmpl_value *self, const struct tmpl_args *args)
{
    if (!callee->call)
        return make(ctx, callee, args);
    struct tmpl_value bound[TMPL_MAX_PARAMS] = {{0}};
    size_t n_params = count_params(callee);
    if (args->n > n_params)
        return tmpl_fail(ctx, ERR_TEMPLATE, "%s takes at most %zu arguments", callee->name,
                         n_params);
    for (size_t i = 0; i < args->n; i++)
        bound[i] = args->v[i];
    size_t n_given = args->n;
    for (size_t i = 0; i < args->n_named; i++) {
        struct str name = tmpl_str(&args->named[i].key);
        size_t at = param_of(callee, name);
        if (at == TMPL_MAX_PARAMS || at < args->n)
            return tmpl_fail(ctx, ERR_TEMPLATE, "%s takes no argument %.*s here", callee->name,
                             (int)name.len, name.ptr);
        bound[at] = args->named[i].value;
        n_given++;
    }
    if (n_given < callee->n_required)
        return tmpl_fail(ctx, ERR_TEMPLATE, "%s needs %zu arguments", callee->name,
                         callee->n_required);
    return callee->call(ctx, self, bound);
}
