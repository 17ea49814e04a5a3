/* SPDX-License-Identifier: MIT */
/* The shape of POST /v1/completions. */
#include "services/gateway/shape.h"

static void write(const struct shape_choice *c, struct str text, const struct logprobs *logprobs,
                  struct buf *out)
{
    buf_add_cstr(out, "{\"text\":");
    buf_add_json(out, text);
    buf_printf(out, ",\"index\":%u,\"logprobs\":", c->index);
    if (logprobs != NULL)
        logprobs_write_completion(logprobs, out);
    else
        buf_add_cstr(out, "null");
    buf_printf(out, ",\"finish_reason\":%s}", shape_finish(c->finish));
}

static void write_opening(const struct shape_choice *c, struct buf *out)
{
    if (c->prompt.len > 0)
        write(c, c->prompt, NULL, out);
}

static void write_delta(const struct shape_choice *c, struct buf *out)
{
    write(c, c->text, c->logprobs, out);
}

static void write_ending(const struct shape_choice *c, struct buf *out)
{
    write(c, STR_LIT(""), NULL, out);
}

static void write_whole(const struct shape_choice *c, struct buf *out)
{
    struct buf all = {0};
    buf_add_str(&all, c->prompt);
    buf_add_str(&all, c->text);
    write(c, buf_str(&all), c->logprobs, out);
    buf_fini(&all);
}

const struct shape shape_completions = {
    .id_prefix = "cmpl-",
    .object = "text_completion",
    .chunk_object = "text_completion",
    .write_opening = write_opening,
    .write_delta = write_delta,
    .write_ending = write_ending,
    .write_whole = write_whole,
    .add_logprob = logprobs_add_completion,
};
