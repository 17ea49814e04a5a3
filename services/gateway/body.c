/* SPDX-License-Identifier: MIT */
#include "services/gateway/body.h"

#include <inttypes.h>

/* Looks at brackets only, before any memory is taken: whether they nest too deeply somewhere. */
static bool is_too_deep(struct str text)
{
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
            if (++depth > BODY_DEPTH_MAX)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

json_t *body_parse(struct str text, uint64_t max_bytes, struct api_error *ret_error)
{
    json_error_t where;
    if (text.len > max_bytes) {
        error_set(ret_error, PROBLEM_BODY_TOO_LARGE, NULL,
                  "The request body has %zu bytes; at most %" PRIu64
                  " are accepted (option --max-body of halo-gateway).",
                  text.len, max_bytes);
        return NULL;
    }
    if (text.len == 0) {
        error_set(ret_error, PROBLEM_BAD_JSON, NULL,
                  "The request body is empty; expected a JSON object.");
        return NULL;
    }
    if (is_too_deep(text)) {
        error_set(ret_error, PROBLEM_BAD_JSON, NULL,
                  "The request body nests arrays and objects more than %d deep.", BODY_DEPTH_MAX);
        return NULL;
    }
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
