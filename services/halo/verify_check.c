/* SPDX-License-Identifier: MIT */
#include "services/halo/verify_check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

enum { SHOWN_BYTES = 24 }; /* of a text around the place where it differs */

#define USER "halo verify"
static const char MARK[] = "\"user\":\"" USER "\"";

/* What the reply does not depend on, or what we set ourselves. */
static const char *const DROPPED[] = {
    "stream",     "stream_options",     "echo", "logprobs", "top_logprobs",
    "request_id", "include_obfuscation"};

bool verify_check_is_ours(const char *request)
{
    return strstr(request, MARK) != NULL;
}

char *verify_check_body(const char *request, const json_t *receipt, const char *model)
{
    json_t *o = json_loads(request, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(o)) {
        json_decref(o);
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(DROPPED); i++)
        (void)json_object_del(o, DROPPED[i]);
    ASSERT(json_object_set(o, "seed", json_object_get(receipt, "seed")) == 0);
    ASSERT(json_object_set_new(o, "model", json_string(model)) == 0);
    ASSERT(json_object_set_new(o, "user", json_string(USER)) == 0);
    char *body = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(o);
    return body;
}

/* ---- texts ------------------------------------------------------------------------------------- */

static bool is_border(char c)
{
    return ((unsigned char)c & 0xC0) != 0x80;
}

/* The first place where two texts differ, at the border of a character; its number counts from 1. */
static size_t first_difference(const char *a, const char *b, size_t *ret_number)
{
    size_t at = 0;
    while (a[at] != '\0' && a[at] == b[at])
        at++;
    while (at > 0 && (!is_border(a[at]) || !is_border(b[at])))
        at--;
    *ret_number = 1;
    for (size_t i = 0; i < at; i++)
        *ret_number += is_border(a[i]) ? 1 : 0;
    return at;
}

/* Some whole characters of a text, as JSON does it, without what a terminal would obey. */
static void show(const char *text, char *shown, size_t cap)
{
    size_t n = strnlen(text, SHOWN_BYTES);
    while (text[n] != '\0' && n > 0 && !is_border(text[n]))
        n--;
    json_t *s = json_stringn(text, n);
    char *quoted = s != NULL ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
    (void)snprintf(shown, cap, "%s", quoted != NULL ? quoted : "\"?\"");
    free(quoted);
    json_decref(s);
}

static void say_difference(const char *then, const char *now, unsigned index, char *why)
{
    char shown_then[SHOWN_BYTES * 6 + 8];
    char shown_now[SHOWN_BYTES * 6 + 8];
    size_t number;
    size_t at = first_difference(then, now, &number);
    show(then + at, shown_then, sizeof shown_then);
    show(now + at, shown_now, sizeof shown_now);
    (void)snprintf(why, VERIFY_WHY_CAP, "choice %u differs at character %zu: %s then, %s now",
                   index, number, shown_then, shown_now);
}

/* ---- receipts ---------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL ? s : "";
}

static bool is_equal(const json_t *a, const json_t *b, const char *name)
{
    const json_t *x = json_object_get(a, name);
    const json_t *y = json_object_get(b, name);
    return x != NULL && y != NULL && json_equal(x, y);
}

enum verify_result verify_check_receipts(const json_t *theirs, const json_t *logged, char *why)
{
    static const char *const NAMES[] = {"id",     "model_hash", "numerics", "seed",
                                        "prompt", "sampling",   "choices"};
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (is_equal(theirs, logged, NAMES[i]))
            continue;
        (void)snprintf(why, VERIFY_WHY_CAP, "the receipt and the log differ in \"%s\"", NAMES[i]);
        return VERIFY_DIFFERS;
    }
    return VERIFY_SAME;
}

/* Appends what else is not as it was then, which may be the reason. */
static void add_note(const json_t *then, const json_t *now, const char *name, char *why)
{
    size_t n = strlen(why);
    if (!is_equal(then, now, name))
        (void)snprintf(why + n, VERIFY_WHY_CAP - n, "; the %s is another: %.100s then, %.100s now",
                       name, text_of(then, name), text_of(now, name));
}

/* The text of a choice in an answer of either endpoint; NULL if it has none. */
static const char *text_of_choice(const json_t *answer, size_t i)
{
    const json_t *choice = json_array_get(json_object_get(answer, "choices"), i);
    const json_t *message = json_object_get(choice, "message");
    const json_t *text =
        json_object_get(message != NULL ? message : choice, message != NULL ? "content" : "text");
    return json_string_value(text);
}

static bool is_choice_same(const json_t *then, const json_t *now, const char *text_then,
                           const char *text_now, char *why)
{
    static const char *const NAMES[] = {"text", "tokens", "n", "finish"};
    unsigned index = (unsigned)json_integer_value(json_object_get(then, "index"));
    if (text_then != NULL && strcmp(text_then, text_now) != 0) {
        say_difference(text_then, text_now, index, why);
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (is_equal(then, now, NAMES[i]))
            continue;
        (void)snprintf(why, VERIFY_WHY_CAP, "choice %u differs in its \"%s\"", index, NAMES[i]);
        return false;
    }
    return true;
}

static bool are_choices_same(const json_t *receipt, const json_t *replies, const json_t *answer,
                             char *why)
{
    const json_t *then = json_object_get(receipt, "choices");
    const json_t *now = json_object_get(json_object_get(answer, "halo"), "choices");
    size_t n = json_array_size(then);
    if (n == 0 || json_array_size(now) != n || (replies != NULL && json_array_size(replies) != n)) {
        (void)snprintf(why, VERIFY_WHY_CAP, "the number of choices differs: %zu then, %zu now", n,
                       json_array_size(now));
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char *text_now = text_of_choice(answer, i);
        const char *text_then = json_string_value(json_array_get(replies, i));
        if (text_now == NULL)
            text_now = "";
        if (!is_choice_same(json_array_get(then, i), json_array_get(now, i), text_then, text_now,
                            why))
            return false;
    }
    return true;
}

enum verify_result verify_check_answer(const json_t *receipt, const json_t *replies,
                                       const json_t *answer, char *why)
{
    const json_t *now = json_object_get(answer, "halo");
    why[0] = '\0';
    if (!json_is_object(now)) {
        (void)snprintf(why, VERIFY_WHY_CAP, "the server sends no receipts");
        return VERIFY_UNCHECKED;
    }
    if (!is_equal(receipt, now, "prompt") || !is_equal(receipt, now, "sampling")) {
        (void)snprintf(why, VERIFY_WHY_CAP,
                       "the request is not that of the receipt: its \"%s\" is "
                       "another",
                       is_equal(receipt, now, "prompt") ? "sampling" : "prompt");
        add_note(receipt, now, "build", why);
        return VERIFY_DIFFERS;
    }
    if (are_choices_same(receipt, replies, answer, why))
        return VERIFY_SAME;
    add_note(receipt, now, "build", why);
    add_note(receipt, now, "numerics", why);
    /* Another type of KV cache computes other numbers: that is no fault of anybody. */
    return is_equal(receipt, now, "numerics") ? VERIFY_DIFFERS : VERIFY_UNCHECKED;
}
