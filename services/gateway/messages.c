/* SPDX-License-Identifier: MIT */
#include "services/gateway/messages.h"

#include <stdio.h>
#include <string.h>

#include "common/check.h"
#include "services/gateway/body.h"
#include "services/gateway/fields.h"

enum { NAME_BYTES_MAX = 64 };

/* Members of a message that may stand there if they say nothing: clients send our own answers back. */
static const struct {
    const char *name;
    const char *values;
    const char *why;
} EMPTY_MEMBERS[] = {
    {"tool_calls", "[[]]", "tool calls are not offered"},
    {"tool_call_id", "[]", "tool calls are not offered"},
    {"function_call", "[]", "tool calls are not offered"},
    {"refusal", "[]", "refusals are not replayed; put the text into content"},
    {"audio", "[]", "the models here read text"},
    {"annotations", "[[]]", "annotations are not read"},
    {"reasoning_content", "[\"\"]", "reasoning is not replayed"},
};

static const struct {
    const char *role;
    const char *passed_on;
} ROLES[] = {
    {"system", "system"},
    {"developer", "system"},
    {"user", "user"},
    {"assistant", "assistant"},
};

/* One message that is being read; `where` is "messages[2]". */
struct reader {
    json_t *message;
    struct buf *out;
    struct api_error *error;
    char where[32];
};

static bool complain(struct reader *rd, enum problem p, const char *member, const char *fmt,
                     const char *what)
{
    char param[112];
    char text[320];
    (void)snprintf(param, sizeof param, "%s%s%.64s", rd->where, member[0] != '\0' ? "." : "",
                   member);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof text, fmt, what);
#pragma GCC diagnostic pop
    error_set(rd->error, p, param, "'%s' %s", param, text);
    return false;
}

static bool check_member(struct reader *rd, const char *name, const json_t *v)
{
    if (strcmp(name, "role") == 0 || strcmp(name, "content") == 0 || strcmp(name, "name") == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(EMPTY_MEMBERS); i++) {
        if (strcmp(name, EMPTY_MEMBERS[i].name) != 0)
            continue;
        if (json_is_null(v) || fields_is_one_of(EMPTY_MEMBERS[i].values, v))
            return true;
        return complain(rd, PROBLEM_FIELD_UNSUPPORTED, name,
                        "is not supported here: %s. Leave it out.", EMPTY_MEMBERS[i].why);
    }
    return complain(rd, PROBLEM_FIELD_UNKNOWN, name,
                    "is not a member of a message%s. Leave it out.", "");
}

static bool check_members(struct reader *rd)
{
    const char *name;
    json_t *v;
    bool ok = true;
    json_object_foreach(rd->message, name, v) ok = ok && check_member(rd, name, v);
    return ok;
}

static bool add_role(struct reader *rd)
{
    const json_t *role = json_object_get(rd->message, "role");
    if (role == NULL)
        return complain(rd, PROBLEM_FIELD_MISSING, "role", "is missing%s.", "");
    if (!json_is_string(role))
        return complain(rd, PROBLEM_FIELD_TYPE, "role", "is %s; expected a string.",
                        body_type_name(role));
    for (size_t i = 0; i < ARRAY_LEN(ROLES); i++) {
        if (strcmp(json_string_value(role), ROLES[i].role) == 0) {
            buf_printf(rd->out, "{\"role\":\"%s\"", ROLES[i].passed_on);
            return true;
        }
    }
    return complain(rd, PROBLEM_VALUE_UNSUPPORTED, "role",
                    "is \"%.40s\"; expected system, developer, user or assistant.",
                    json_string_value(role));
}

static bool add_name(struct reader *rd)
{
    const json_t *name = json_object_get(rd->message, "name");
    if (name == NULL || json_is_null(name))
        return true;
    if (!json_is_string(name))
        return complain(rd, PROBLEM_FIELD_TYPE, "name", "is %s; expected a string.",
                        body_type_name(name));
    size_t len = json_string_length(name);
    if (len < 1 || len > NAME_BYTES_MAX)
        return complain(rd, PROBLEM_FIELD_VALUE, "name", "must have 1 to 64 bytes%s.", "");
    buf_add_cstr(rd->out, ",\"name\":");
    buf_add_json(rd->out, (struct str){json_string_value(name), len});
    return true;
}

/* {"type":"text","text":"..."}; anything else is refused by name. */
static bool add_part(struct reader *rd, const json_t *part, size_t i, struct buf *text)
{
    char member[48];
    (void)snprintf(member, sizeof member, "content[%zu]", i);
    const json_t *type = json_object_get(part, "type");
    if (!json_is_string(type))
        return complain(rd, PROBLEM_FIELD_TYPE, member,
                        "must be an object with a \"type\"; expected {\"type\":\"text\","
                        "\"text\":\"...\"}%s.",
                        "");
    if (strcmp(json_string_value(type), "text") != 0)
        return complain(rd, PROBLEM_VALUE_UNSUPPORTED, member,
                        "has the type \"%.40s\"; the models here read text only.",
                        json_string_value(type));
    const json_t *s = json_object_get(part, "text");
    if (!json_is_string(s) || json_object_size(part) != 2)
        return complain(rd, PROBLEM_FIELD_TYPE, member,
                        "must have a string \"text\" and no further members%s.", "");
    buf_add(text, json_string_value(s), json_string_length(s));
    return true;
}

static bool add_parts(struct reader *rd, const json_t *parts)
{
    struct buf text = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < json_array_size(parts); i++)
        ok = add_part(rd, json_array_get(parts, i), i, &text);
    if (ok)
        buf_add_json(rd->out, buf_str(&text));
    buf_fini(&text);
    return ok;
}

static bool add_content(struct reader *rd)
{
    const json_t *content = json_object_get(rd->message, "content");
    buf_add_cstr(rd->out, ",\"content\":");
    if (content == NULL)
        return complain(rd, PROBLEM_FIELD_MISSING, "content", "is missing%s.", "");
    if (json_is_array(content) && json_array_size(content) > 0)
        return add_parts(rd, content);
    if (!json_is_string(content))
        return complain(rd, PROBLEM_FIELD_TYPE, "content",
                        "is %s; expected a string or an array of text parts.",
                        json_is_array(content) ? "an empty array" : body_type_name(content));
    buf_add_json(rd->out, (struct str){json_string_value(content), json_string_length(content)});
    return true;
}

static bool add_message(struct reader *rd)
{
    if (!json_is_object(rd->message))
        return complain(rd, PROBLEM_FIELD_TYPE, "", "is %s; expected an object.",
                        body_type_name(rd->message));
    if (!check_members(rd) || !add_role(rd) || !add_name(rd) || !add_content(rd))
        return false;
    buf_add_char(rd->out, '}');
    return true;
}

bool messages_set(struct request *r, json_t *v, struct api_error *e)
{
    struct buf out = {0};
    bool ok = true;
    buf_add_char(&out, '[');
    for (size_t i = 0; ok && i < json_array_size(v); i++) {
        struct reader rd = {.message = json_array_get(v, i), .out = &out, .error = e};
        (void)snprintf(rd.where, sizeof rd.where, "messages[%zu]", i);
        if (i > 0)
            buf_add_char(&out, ',');
        ok = add_message(&rd);
    }
    buf_add_char(&out, ']');
    if (ok) {
        r->prompts = arena_zalloc(&r->arena, 1, sizeof *r->prompts);
        r->prompts[0].kind = PROMPT_CHAT;
        r->prompts[0].text = (struct str){arena_strdup(&r->arena, buf_str(&out)), out.len};
        r->n_prompts = 1;
    }
    buf_fini(&out);
    return ok;
}
