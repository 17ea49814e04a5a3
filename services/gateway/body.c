/* SPDX-License-Identifier: MIT */
#include "services/gateway/body.h"

#include <inttypes.h>

struct brackets {
    unsigned depth; /* the greatest */
    size_t n; /* arrays and objects */
};

/* Looks at brackets only, before memory is taken for what they hold. */
static struct brackets count_brackets(struct str text)
{
    struct brackets b = {0};
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            b.n++;
            depth++;
            if (depth > b.depth)
                b.depth = depth;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return b;
}

static bool check_size(struct str text, uint64_t max_bytes, struct api_error *e)
{
    if (text.len > max_bytes) {
        error_set(e, PROBLEM_BODY_TOO_LARGE, NULL,
                  "The request body has %zu bytes; at most %" PRIu64
                  " are accepted (option --max-body of halo-gateway).",
                  text.len, max_bytes);
        return false;
    }
    if (text.len == 0) {
        error_set(e, PROBLEM_BAD_JSON, NULL, "The request body is empty; expected a JSON object.");
        return false;
    }
    struct brackets b = count_brackets(text);
    if (b.depth > BODY_DEPTH_MAX) {
        error_set(e, PROBLEM_BAD_JSON, NULL,
                  "The request body nests arrays and objects %u deep; at most %d are accepted.",
                  b.depth, BODY_DEPTH_MAX);
        return false;
    }
    if (b.n > BODY_CONTAINERS_MAX) {
        error_set(e, PROBLEM_BAD_JSON, NULL,
                  "The request body has %zu arrays and objects; at most %d are accepted.", b.n,
                  BODY_CONTAINERS_MAX);
        return false;
    }
    return true;
}

json_t *body_parse(struct str text, uint64_t max_bytes, struct api_error *ret_error)
{
    json_error_t where;
    if (!check_size(text, max_bytes, ret_error))
        return NULL;
    json_t *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL) {
        error_set(ret_error, PROBLEM_BAD_JSON, NULL,
                  "The request body is not valid JSON: %s (line %d, column %d).", where.text,
                  where.line, where.column);
        return NULL;
    }
    if (!json_is_object(root)) {
        error_set(ret_error, PROBLEM_BAD_JSON, NULL,
                  "The request body is %s; expected a JSON object.", body_type_name(root));
        json_decref(root);
        return NULL;
    }
    return root;
}

const char *body_type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "unknown";
}
