/* SPDX-License-Identifier: MIT */
#include "services/halo/talk.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"

struct talk {
    const struct talk_config *config;
    char *system;
    json_t *messages;
    /* of the reply that is coming */
    struct buf reply;
    void (*on_text)(void *ctx, struct str text);
    void *ctx;
};

static void add(struct talk *t, const char *role, const char *content)
{
    json_t *m = json_pack("{s:s, s:s}", "role", role, "content", content);
    if (m != NULL) /* it is NULL for what is not UTF-8 */
        ASSERT(json_array_append_new(t->messages, m) == 0);
}

void talk_reset(struct talk *t)
{
    ASSERT(json_array_clear(t->messages) == 0);
    if (t->system[0] != '\0')
        add(t, "system", t->system);
}

void talk_set_system(struct talk *t, const char *system)
{
    free(t->system);
    t->system = mem_strndup(system, strlen(system));
    talk_reset(t);
}

struct talk *talk_new(const struct talk_config *config, const char *system)
{
    struct talk *t = mem_zalloc(1, sizeof *t);
    t->config = config;
    t->messages = json_array();
    ASSERT(t->messages != NULL);
    talk_set_system(t, system != NULL ? system : "");
    return t;
}

void talk_free(struct talk *t)
{
    if (t == NULL)
        return;
    json_decref(t->messages);
    buf_fini(&t->reply);
    free(t->system);
    free(t);
}

static void set(json_t *o, const char *key, json_t *take_value)
{
    ASSERT(json_object_set_new(o, key, take_value) == 0);
}

static char *make_body(const struct talk *t)
{
    const struct talk_config *c = t->config;
    json_t *o = json_pack("{s:s, s:O, s:b, s:{s:b}}", "model", c->model, "messages", t->messages,
                          "stream", 1, "stream_options", "include_usage", 1);
    ASSERT(o != NULL);
    if (c->max_tokens > 0)
        set(o, "max_tokens", json_integer(c->max_tokens));
    if (c->temperature >= 0)
        set(o, "temperature", json_real(c->temperature));
    if (c->has_seed)
        set(o, "seed", json_integer((json_int_t)c->seed));
    char *body = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    ASSERT(body != NULL);
    json_decref(o);
    return body;
}

static void on_piece(void *ctx, struct str text)
{
    struct talk *t = ctx;
    buf_add_str(&t->reply, text);
    t->on_text(t->ctx, text);
}

void talk_say(struct talk *t, const char *text, int cancel_fd,
              void (*on_text)(void *ctx, struct str text), void *ctx, struct api_reply *ret_reply)
{
    size_t n_before = json_array_size(t->messages);
    add(t, "user", text);
    t->on_text = on_text;
    t->ctx = ctx;
    buf_reset(&t->reply);
    char *body = make_body(t);
    struct api_chat chat = {.base = t->config->base,
                            .body = body,
                            .timeout_ms = t->config->timeout_ms,
                            .cancel_fd = cancel_fd,
                            .text = on_piece,
                            .ctx = t};
    api_chat(&chat, ret_reply);
    free(body);
    if (ret_reply->end == API_FAILED) {
        while (json_array_size(t->messages) > n_before)
            ASSERT(json_array_remove(t->messages, json_array_size(t->messages) - 1) == 0);
    } else {
        add(t, "assistant", buf_str(&t->reply).ptr);
    }
}
