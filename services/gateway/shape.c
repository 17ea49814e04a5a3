/* SPDX-License-Identifier: MIT */
#include "services/gateway/shape.h"

/* "stop" or "length"; null while the choice goes on. */
static const char *reason(enum finish f)
{
    return f == FINISH_STOP ? "\"stop\"" : f == FINISH_LENGTH ? "\"length\"" : "null";
}

/* ---- chat ---------------------------------------------------------------------------------------- */

static void add_chat_logprobs(const struct shape_choice *c, struct buf *out)
{
    buf_add_cstr(out, ",\"logprobs\":");
    if (c->logprobs != NULL)
        logprobs_write_chat(c->logprobs, out);
    else
        buf_add_cstr(out, "null");
}

static void write_chat_opening(const struct shape_choice *c, struct buf *out)
{
    buf_printf(out,
               "{\"index\":%u,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
               "\"logprobs\":null,\"finish_reason\":null}",
               c->index);
}

static void write_chat_delta(const struct shape_choice *c, struct buf *out)
{
    buf_add_cstr(out, "{\"index\":");
    buf_add_u64(out, c->index);
    buf_add_cstr(out, ",\"delta\":{\"content\":");
    buf_add_json(out, c->text);
    buf_add_char(out, '}');
    add_chat_logprobs(c, out);
    buf_add_cstr(out, ",\"finish_reason\":null}");
}

static void write_chat_ending(const struct shape_choice *c, struct buf *out)
{
    buf_printf(out, "{\"index\":%u,\"delta\":{},\"logprobs\":null,\"finish_reason\":%s}", c->index,
               reason(c->finish));
}

static void write_chat_whole(const struct shape_choice *c, struct buf *out)
{
    buf_printf(out, "{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", c->index);
    buf_add_json(out, c->text);
    buf_add_cstr(out, ",\"refusal\":null,\"annotations\":[]}");
    add_chat_logprobs(c, out);
    buf_printf(out, ",\"finish_reason\":%s}", reason(c->finish));
}

const struct shape shape_chat = {
    .id_prefix = "chatcmpl-",
    .object = "chat.completion",
    .chunk_object = "chat.completion.chunk",
    .write_opening = write_chat_opening,
    .write_delta = write_chat_delta,
    .write_ending = write_chat_ending,
    .write_whole = write_chat_whole,
    .add_logprob = logprobs_add_chat,
};

/* ---- completions --------------------------------------------------------------------------------- */

static void write_completion(const struct shape_choice *c, struct str text,
                             const struct logprobs *logprobs, struct buf *out)
{
    buf_add_cstr(out, "{\"text\":");
    buf_add_json(out, text);
    buf_add_cstr(out, ",\"index\":");
    buf_add_u64(out, c->index);
    buf_add_cstr(out, ",\"logprobs\":");
    if (logprobs != NULL)
        logprobs_write_completion(logprobs, out);
    else
        buf_add_cstr(out, "null");
    buf_add_cstr(out, ",\"finish_reason\":");
    buf_add_cstr(out, reason(c->finish));
    buf_add_char(out, '}');
}

static void write_completion_opening(const struct shape_choice *c, struct buf *out)
{
    if (c->prompt.len > 0)
        write_completion(c, c->prompt, NULL, out);
}

static void write_completion_delta(const struct shape_choice *c, struct buf *out)
{
    write_completion(c, c->text, c->logprobs, out);
}

static void write_completion_ending(const struct shape_choice *c, struct buf *out)
{
    write_completion(c, STR_LIT(""), NULL, out);
}

static void write_completion_whole(const struct shape_choice *c, struct buf *out)
{
    struct buf all = {0};
    buf_add_str(&all, c->prompt);
    buf_add_str(&all, c->text);
    write_completion(c, buf_str(&all), c->logprobs, out);
    buf_fini(&all);
}

const struct shape shape_completions = {
    .id_prefix = "cmpl-",
    .object = "text_completion",
    .chunk_object = "text_completion",
    .write_opening = write_completion_opening,
    .write_delta = write_completion_delta,
    .write_ending = write_completion_ending,
    .write_whole = write_completion_whole,
    .add_logprob = logprobs_add_completion,
};
