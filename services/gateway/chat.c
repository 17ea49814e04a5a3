/* SPDX-License-Identifier: MIT */
/* The shape of POST /v1/chat/completions. */
#include "services/gateway/shape.h"

const char *shape_finish(enum finish f)
{
    return f == FINISH_STOP ? "\"stop\"" : f == FINISH_LENGTH ? "\"length\"" : "null";
}

static void add_logprobs(const struct shape_choice *c, struct buf *out)
{
    buf_add_cstr(out, ",\"logprobs\":");
    if (c->logprobs != NULL)
        logprobs_write_chat(c->logprobs, out);
    else
        buf_add_cstr(out, "null");
}

static void write_opening(const struct shape_choice *c, struct buf *out)
{
    buf_printf(out,
               "{\"index\":%u,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
               "\"logprobs\":null,\"finish_reason\":null}",
               c->index);
}

static void write_delta(const struct shape_choice *c, struct buf *out)
{
    buf_printf(out, "{\"index\":%u,\"delta\":{\"content\":", c->index);
    buf_add_json(out, c->text);
    buf_add_char(out, '}');
    add_logprobs(c, out);
    buf_add_cstr(out, ",\"finish_reason\":null}");
}

static void write_ending(const struct shape_choice *c, struct buf *out)
{
    buf_printf(out, "{\"index\":%u,\"delta\":{},\"logprobs\":null,\"finish_reason\":%s}", c->index,
               shape_finish(c->finish));
}

static void write_whole(const struct shape_choice *c, struct buf *out)
{
    buf_printf(out, "{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", c->index);
    buf_add_json(out, c->text);
    buf_add_cstr(out, ",\"refusal\":null,\"annotations\":[]}");
    add_logprobs(c, out);
    buf_printf(out, ",\"finish_reason\":%s}", shape_finish(c->finish));
}

const struct shape shape_chat = {
    .id_prefix = "chatcmpl-",
    .object = "chat.completion",
    .chunk_object = "chat.completion.chunk",
    .write_opening = write_opening,
    .write_delta = write_delta,
    .write_ending = write_ending,
    .write_whole = write_whole,
    .add_logprob = logprobs_add_chat,
};
