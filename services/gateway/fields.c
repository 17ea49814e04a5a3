/* SPDX-License-Identifier: MIT */
#include "services/gateway/fields.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/check.h"
#include "services/gateway/body.h"
#include "services/gateway/setters.h"

enum {
    BOTH = ENDPOINT_CHAT | ENDPOINT_COMPLETIONS,
    CHAT = ENDPOINT_CHAT,
    COMPLETIONS = ENDPOINT_COMPLETIONS
};

static const struct field FIELDS[] = {
#define PLAIN(kind, name, endpoints, min, max, member, doc, setter)                                \
    {#name, endpoints, FIELD_HONOURED, kind, min, max, offsetof(struct request, member), setter,   \
     NULL,  doc},
#define F32(name, endpoints, min, max, member, doc)                                                \
    PLAIN(FIELD_NUMBER, name, endpoints, min, max, member, doc, setters_f32)
#define U32(name, endpoints, min, max, member, doc)                                                \
    PLAIN(FIELD_INTEGER, name, endpoints, min, max, member, doc, setters_u32)
#define BOOL(name, endpoints, min, max, member, doc)                                               \
    PLAIN(FIELD_BOOL, name, endpoints, min, max, member, doc, setters_bool)
#define SET(name, endpoints, type, min, max, setter, doc)                                          \
    {#name, endpoints, FIELD_HONOURED, FIELD_##type, min, max, 0, setters_##setter, NULL, doc},
#define NEUTRAL(name, endpoints, values, doc)                                                      \
    {#name, endpoints, FIELD_NEUTRAL, FIELD_ANY, 0, 0, 0, NULL, values, doc},
#define LABEL(name, endpoints, type, min, max, doc)                                                \
    {#name, endpoints, FIELD_LABEL, FIELD_##type, min, max, 0, NULL, NULL, doc},
#define REFUSE(name, endpoints, doc)                                                               \
    {#name, endpoints, FIELD_REFUSED, FIELD_ANY, 0, 0, 0, NULL, NULL, doc},
#include "services/gateway/fields.def"
#undef PLAIN
#undef F32
#undef U32
#undef BOOL
#undef SET
#undef NEUTRAL
#undef LABEL
#undef REFUSE
};

size_t fields_count(void)
{
    return ARRAY_LEN(FIELDS);
}

const struct field *fields_at(size_t i)
{
    return &FIELDS[i];
}

static const struct field *find(const char *name, enum endpoint endpoint)
{
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++) {
        if ((FIELDS[i].endpoints & endpoint) != 0 && strcmp(FIELDS[i].name, name) == 0)
            return &FIELDS[i];
    }
    return NULL;
}

/* ---- checks -------------------------------------------------------------------------------------- */

static const char *type_name(enum field_type t)
{
    static const char *const NAMES[] = {
        [FIELD_ANY] = "a value",     [FIELD_BOOL] = "a boolean",  [FIELD_INTEGER] = "an integer",
        [FIELD_NUMBER] = "a number", [FIELD_STRING] = "a string", [FIELD_ARRAY] = "an array",
        [FIELD_OBJECT] = "an object"};
    return NAMES[t];
}

static bool has_type(enum field_type t, const json_t *v)
{
    switch (t) {
    case FIELD_ANY:
        return true;
    case FIELD_BOOL:
        return json_is_boolean(v);
    case FIELD_INTEGER:
        return json_is_integer(v);
    case FIELD_NUMBER:
        return json_is_number(v);
    case FIELD_STRING:
        return json_is_string(v);
    case FIELD_ARRAY:
        return json_is_array(v);
    case FIELD_OBJECT:
        return json_is_object(v);
    }
    return false;
}

/* What min and max bound, and the noun for it; false when nothing is bounded. */
static bool measure(const struct field *f, const json_t *v, double *ret, const char **ret_noun)
{
    *ret_noun = "";
    if (f->type == FIELD_INTEGER || f->type == FIELD_NUMBER)
        *ret = json_number_value(v);
    else if (f->type == FIELD_STRING)
        *ret_noun = " bytes", *ret = (double)json_string_length(v);
    else if (f->type == FIELD_ARRAY)
        *ret_noun = " elements", *ret = (double)json_array_size(v);
    else if (f->type == FIELD_OBJECT)
        *ret_noun = " members", *ret = (double)json_object_size(v);
    else
        return false;
    return true;
}

bool fields_check(const struct field *f, const char *param, const json_t *v, struct api_error *e)
{
    double x;
    const char *noun;
    if (!has_type(f->type, v)) {
        error_set(e, PROBLEM_FIELD_TYPE, param, "'%s' is %s; expected %s.", param,
                  body_type_name(v), type_name(f->type));
        return false;
    }
    if (measure(f, v, &x, &noun) && !(x >= f->min && x <= f->max)) {
        error_set(e, PROBLEM_FIELD_VALUE, param, "'%s' is %.17g%s; expected %.17g to %.17g%s.",
                  param, x, noun, f->min, f->max, noun);
        return false;
    }
    return true;
}

static bool is_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return fabs(json_number_value(a) - json_number_value(b)) <= 0.0;
    return json_equal(a, b) != 0;
}

bool fields_is_one_of(const char *values, const json_t *v)
{
    json_t *list = json_loads(values, 0, NULL);
    size_t i;
    json_t *one;
    bool found = false;
    ASSERT(json_is_array(list));
    json_array_foreach(list, i, one) found = found || is_equal(one, v);
    json_decref(list);
    return found;
}

/* ---- policies ------------------------------------------------------------------------------------ */

static bool apply_neutral(const struct field *f, const json_t *v, struct api_error *e)
{
    if (fields_is_one_of(f->values, v))
        return true;
    if (strcmp(f->values, "[]") == 0)
        error_set(e, PROBLEM_FIELD_UNSUPPORTED, f->name,
                  "'%s' is not supported here: %s. Leave it out.", f->name, f->doc);
    else
        error_set(e, PROBLEM_VALUE_UNSUPPORTED, f->name,
                  "This value of '%s' is not supported here: %s. Leave it out, or send one of %s.",
                  f->name, f->doc, f->values);
    return false;
}

static bool apply(struct request *r, const char *name, json_t *v, struct api_error *e)
{
    const struct field *f = find(name, r->endpoint);
    if (f == NULL) {
        char shown[100];
        (void)snprintf(shown, sizeof shown, "%s", name);
        error_set(e, PROBLEM_FIELD_UNKNOWN, shown,
                  "'%s' is not a parameter of this endpoint. Leave it out; every parameter that is "
                  "accepted has an effect.",
                  shown);
        return false;
    }
    switch (f->policy) {
    case FIELD_HONOURED:
        return fields_check(f, f->name, v, e) && f->set(r, f, v, e);
    case FIELD_NEUTRAL:
        return apply_neutral(f, v, e);
    case FIELD_LABEL:
        return fields_check(f, f->name, v, e);
    case FIELD_REFUSED:
        error_set(e, PROBLEM_FIELD_UNSUPPORTED, f->name,
                  "'%s' is not supported here: %s. Leave it out.", f->name, f->doc);
        return false;
    }
    return false;
}

bool fields_apply(struct request *r, json_t *body, struct api_error *ret_error)
{
    const char *name;
    json_t *v;
    json_object_foreach(body, name, v)
    {
        if (!json_is_null(v) && !apply(r, name, v, ret_error))
            return false;
        /* A null of a name that nobody knows is a mistake all the same. */
        if (json_is_null(v) && find(name, r->endpoint) == NULL && !apply(r, name, v, ret_error))
            return false;
    }
    return true;
}

/* ---- printing ------------------------------------------------------------------------------------ */

static const char *policy_name(enum field_policy p)
{
    static const char *const NAMES[] = {[FIELD_HONOURED] = "honoured",
                                        [FIELD_NEUTRAL] = "neutral",
                                        [FIELD_LABEL] = "label",
                                        [FIELD_REFUSED] = "refused"};
    return NAMES[p];
}

void fields_print(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++) {
        const struct field *f = &FIELDS[i];
        buf_printf(out, "{\"name\":\"%s\",\"endpoints\":[%s%s%s],\"policy\":\"%s\"", f->name,
                   (f->endpoints & CHAT) != 0 ? "\"chat\"" : "", f->endpoints == BOTH ? "," : "",
                   (f->endpoints & COMPLETIONS) != 0 ? "\"completions\"" : "",
                   policy_name(f->policy));
        if (f->policy == FIELD_NEUTRAL)
            buf_printf(out, ",\"values\":%s", f->values);
        if (f->type != FIELD_ANY)
            buf_printf(out, ",\"type\":\"%s\"", strchr(type_name(f->type), ' ') + 1);
        if (f->max > f->min && f->type != FIELD_BOOL)
            buf_printf(out, ",\"min\":%.17g,\"max\":%.17g", f->min, f->max);
        buf_add_cstr(out, ",\"doc\":");
        buf_add_json(out, str_from(f->doc));
        buf_add_cstr(out, "}\n");
    }
}
