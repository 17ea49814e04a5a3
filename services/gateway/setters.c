/* SPDX-License-Identifier: MIT */
#include "services/gateway/setters.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/body.h"
#include "services/gateway/messages.h"

enum { STOP_BYTES_MAX = 1024 };

static struct str str_of(const json_t *v)
{
    return (struct str){json_string_value(v), json_string_length(v)};
}

/* A copy that lives as long as the request. */
static struct str keep(struct request *r, struct str s)
{
    return (struct str){arena_strdup(&r->arena, s), s.len};
}

static char *member(struct request *r, const struct field *f)
{
    return (char *)r + f->offset;
}

SETTER(f32)
{
    (void)e;
    float x = (float)json_number_value(v);
    memcpy(member(r, f), &x, sizeof x);
    return true;
}

SETTER(u32)
{
    (void)e;
    uint32_t x = (uint32_t)json_integer_value(v);
    memcpy(member(r, f), &x, sizeof x);
    return true;
}

SETTER(bool)
{
    (void)e;
    *(bool *)(void *)member(r, f) = json_is_true(v);
    return true;
}

SETTER(model)
{
    (void)f;
    (void)e;
    r->model = keep(r, str_of(v));
    return true;
}

SETTER(messages)
{
    (void)f;
    return messages_set(r, v, e);
}

/* ---- prompts ------------------------------------------------------------------------------------- */

/* `v` is an array of integers; param names it. */
static bool keep_ids(struct request *r, const json_t *v, const char *param, const uint32_t **ret,
                     size_t *ret_n, struct api_error *e)
{
    size_t n = json_array_size(v);
    uint32_t *ids = arena_zalloc(&r->arena, n, sizeof *ids);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(v, i);
        json_int_t x = json_integer_value(id);
        if (!json_is_integer(id) || x < 0 || x > UINT32_MAX) {
            char where[96];
            (void)snprintf(where, sizeof where, "%s[%zu]", param, i);
            error_set(e, PROBLEM_FIELD_TYPE, where, "'%s' is %s; expected a token id.", where,
                      json_is_integer(id) ? "out of range" : body_type_name(id));
            return false;
        }
        ids[i] = (uint32_t)x;
    }
    *ret = ids;
    *ret_n = n;
    return true;
}

static bool add_prompt(struct request *r, const json_t *v, const char *param, struct api_error *e)
{
    struct prompt *p = &r->prompts[r->n_prompts];
    if (json_is_string(v)) {
        p->kind = PROMPT_TEXT;
        p->text = keep(r, str_of(v));
    } else if (json_is_array(v) && json_array_size(v) > 0) {
        p->kind = PROMPT_IDS;
        if (!keep_ids(r, v, param, &p->ids, &p->n_ids, e))
            return false;
    } else {
        error_set(e, PROBLEM_FIELD_TYPE, param,
                  "'%s' is %s; expected a string or a non-empty array of token ids.", param,
                  json_is_array(v) ? "an empty array" : body_type_name(v));
        return false;
    }
    r->n_prompts++;
    return true;
}

SETTER(prompt)
{
    bool is_list = json_is_array(v) && !json_is_integer(json_array_get(v, 0));
    size_t n = is_list ? json_array_size(v) : 1;
    if (n < 1 || n > REQUEST_PROMPTS_MAX) {
        error_set(e, PROBLEM_FIELD_VALUE, f->name, "'prompt' has %zu prompts; expected 1 to %d.", n,
                  REQUEST_PROMPTS_MAX);
        return false;
    }
    r->prompts = arena_zalloc(&r->arena, n, sizeof *r->prompts);
    if (!is_list)
        return add_prompt(r, v, f->name, e);
    for (size_t i = 0; i < n; i++) {
        char param[32];
        (void)snprintf(param, sizeof param, "prompt[%zu]", i);
        if (!add_prompt(r, json_array_get(v, i), param, e))
            return false;
    }
    return true;
}

SETTER(n)
{
    (void)f;
    (void)e;
    r->n = (uint32_t)json_integer_value(v);
    return true;
}

SETTER(best_of)
{
    (void)f;
    (void)e;
    r->best_of = (uint32_t)json_integer_value(v);
    return true;
}

/* ---- ends ---------------------------------------------------------------------------------------- */

static bool add_stop(struct request *r, const json_t *v, const char *param, struct api_error *e)
{
    if (!json_is_string(v)) {
        error_set(e, PROBLEM_FIELD_TYPE, param, "'%s' is %s; expected a string.", param,
                  body_type_name(v));
        return false;
    }
    size_t len = json_string_length(v);
    if (len < 1 || len > STOP_BYTES_MAX) {
        error_set(e, PROBLEM_FIELD_VALUE, param, "'%s' has %zu bytes; expected 1 to %d.", param,
                  len, STOP_BYTES_MAX);
        return false;
    }
    r->stops[r->n_stops++] = keep(r, str_of(v));
    return true;
}

SETTER(stop)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > REQUEST_STOPS_MAX) {
        error_set(e, PROBLEM_FIELD_VALUE, f->name, "'stop' has %zu strings; expected at most %d.",
                  n, REQUEST_STOPS_MAX);
        return false;
    }
    r->stops = arena_zalloc(&r->arena, n, sizeof *r->stops);
    if (!json_is_array(v))
        return add_stop(r, v, f->name, e);
    for (size_t i = 0; i < n; i++) {
        char param[32];
        (void)snprintf(param, sizeof param, "stop[%zu]", i);
        if (!add_stop(r, json_array_get(v, i), param, e))
            return false;
    }
    return true;
}

SETTER(stop_token_ids)
{
    return keep_ids(r, v, f->name, &r->sampling.stop_ids, &r->sampling.n_stop_ids, e);
}

/* ---- sampling ------------------------------------------------------------------------------------ */

SETTER(top_p)
{
    (void)f;
    (void)e;
    /* On the wire 0 means off; here it means that one token is left. */
    float x = (float)json_number_value(v);
    r->sampling.top_p = x > 0 ? x : 1e-6F;
    return true;
}

SETTER(top_k)
{
    (void)f;
    (void)e;
    json_int_t k = json_integer_value(v);
    r->sampling.top_k = k > 0 ? (uint32_t)k : 0;
    return true;
}

SETTER(repeat_penalty)
{
    (void)f;
    (void)e;
    r->sampling.repetition_penalty = (float)json_number_value(v);
    return true;
}

SETTER(seed)
{
    (void)f;
    (void)e;
    r->sampling.seed = (uint64_t)json_integer_value(v);
    r->has_seed = true;
    return true;
}

static bool parse_bias(const char *key, const json_t *v, struct rec_bias *ret, struct api_error *e)
{
    char param[96];
    char *end;
    errno = 0;
    unsigned long id = strtoul(key, &end, 10);
    (void)snprintf(param, sizeof param, "logit_bias[\"%.60s\"]", key);
    if (!isdigit((unsigned char)key[0]) || *end != '\0' || errno != 0 || id > UINT32_MAX) {
        error_set(e, PROBLEM_FIELD_VALUE, param, "'%s': the key is not a token id.", param);
        return false;
    }
    double bias = json_number_value(v);
    if (!json_is_number(v) || !(bias >= -100 && bias <= 100)) {
        error_set(e, json_is_number(v) ? PROBLEM_FIELD_VALUE : PROBLEM_FIELD_TYPE, param,
                  "'%s' is %s; expected a number from -100 to 100.", param,
                  json_is_number(v) ? "out of range" : body_type_name(v));
        return false;
    }
    *ret = (struct rec_bias){.id = (uint32_t)id, .bias = (float)bias};
    return true;
}

static int compare_bias(const void *a, const void *b)
{
    const struct rec_bias *x = a;
    const struct rec_bias *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

SETTER(logit_bias)
{
    size_t n = json_object_size(v);
    struct rec_bias *list = arena_zalloc(&r->arena, n, sizeof *list);
    const char *key;
    json_t *one;
    bool ok = true;
    size_t i = 0;
    json_object_foreach(v, key, one)
    {
        ok = ok && parse_bias(key, one, &list[i], e);
        i++;
    }
    if (!ok)
        return false;
    qsort(list, n, sizeof *list, compare_bias);
    for (i = 1; i < n; i++) {
        if (list[i].id == list[i - 1].id) {
            error_set(e, PROBLEM_FIELD_VALUE, f->name, "'logit_bias' has token %u twice.",
                      list[i].id);
            return false;
        }
    }
    r->sampling.logit_bias = list;
    r->sampling.n_logit_bias = n;
    return true;
}

/* ---- the answer ---------------------------------------------------------------------------------- */

SETTER(stream_options)
{
    (void)f;
    const json_t *usage = json_object_get(v, "include_usage");
    const json_t *obfuscation = json_object_get(v, "include_obfuscation");
    size_t known = (usage != NULL ? 1U : 0U) + (obfuscation != NULL ? 1U : 0U);
    if (json_object_size(v) != known) {
        error_set(e, PROBLEM_FIELD_UNKNOWN, "stream_options",
                  "'stream_options' has members other than include_usage and "
                  "include_obfuscation. Leave them out.");
        return false;
    }
    if (usage != NULL && !json_is_boolean(usage) && !json_is_null(usage)) {
        error_set(e, PROBLEM_FIELD_TYPE, "stream_options.include_usage",
                  "'stream_options.include_usage' is %s; expected a boolean.",
                  body_type_name(usage));
        return false;
    }
    if (obfuscation != NULL && !json_is_false(obfuscation) && !json_is_null(obfuscation)) {
        error_set(e, PROBLEM_VALUE_UNSUPPORTED, "stream_options.include_obfuscation",
                  "'stream_options.include_obfuscation' is not supported here: chunks are not "
                  "padded. Leave it out or send false.");
        return false;
    }
    r->has_stream_options = true;
    r->include_usage = json_is_true(usage);
    return true;
}

SETTER(top_logprobs)
{
    (void)f;
    (void)e;
    r->has_top_logprobs = true;
    r->sampling.top_logprobs = (uint32_t)json_integer_value(v);
    return true;
}

SETTER(completion_logprobs)
{
    (void)f;
    (void)e;
    r->logprobs = true;
    r->sampling.top_logprobs = (uint32_t)json_integer_value(v);
    return true;
}

SETTER(add_generation_prompt)
{
    (void)f;
    (void)e;
    r->has_add_generation_prompt = true;
    r->add_generation_prompt = json_is_true(v);
    return true;
}

SETTER(chat_template_kwargs)
{
    (void)f;
    (void)e;
    char *text = json_dumps(v, JSON_COMPACT);
    r->template_args = keep(r, str_from(text));
    free(text);
    return true;
}

SETTER(service_tier)
{
    if (!fields_is_one_of("[\"auto\",\"default\"]", v)) {
        error_set(e, PROBLEM_VALUE_UNSUPPORTED, f->name,
                  "'service_tier' is \"%s\"; expected \"auto\" or \"default\".",
                  json_string_value(v));
        return false;
    }
    r->has_service_tier = true;
    return true;
}

SETTER(cache_salt)
{
    (void)f;
    (void)e;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    (void)SHA256((const unsigned char *)json_string_value(v), json_string_length(v), digest);
    memcpy(&r->tenant, digest, sizeof r->tenant);
    return true;
}

SETTER(request_id)
{
    struct str s = str_of(v);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (!isalnum(c) && c != '.' && c != '_' && c != '-') {
            error_set(e, PROBLEM_FIELD_VALUE, f->name,
                      "'request_id' may have letters, digits, '.', '_' and '-' only.");
            return false;
        }
    }
    r->id = keep(r, s);
    return true;
}
