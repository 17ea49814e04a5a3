/* SPDX-License-Identifier: MIT */
#include "tests/router/operator.h"

#include <string.h>

static void on_up(void *ctx, struct link *l)
{
    struct operator* o = ctx;
    (void)l;
    o->is_up = true;
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct operator* o = ctx;
    (void)l;
    assert_int_equal(f->type, FRAME_reply);
    const struct frame_reply *r = f->body;
    o->n_answers++;
    o->code = err_from_number(r->code);
    (void)snprintf(o->detail, sizeof o->detail, "%.*s", (int)r->detail.len, r->detail.ptr);
    json_decref(o->data);
    o->data = json_loadb(r->data.ptr != NULL ? r->data.ptr : "", r->data.len, 0, NULL);
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct operator* o = ctx;
    (void)l;
    (void)why;
    o->is_up = false;
}

void operator_open(struct operator* o, struct world *w)
{
    *o = (struct operator){.world = w};
    struct link_config c = {.loop = w->loop,
                            .run = w->run,
                            .service = "halo",
                            .instance = "",
                            .epoch = w->next_epoch++,
                            .dead_ms = 10000};
    struct link_handler h = {on_up, on_frame, on_down, o};
    assert_int_equal(link_dial(&c, "router", &h, &o->link), ERR_OK);
    UNTIL(w, o->is_up);
}

void operator_close(struct operator* o)
{
    link_close(o->link);
    json_decref(o->data);
    *o = (struct operator){0};
}

void operator_send(struct operator* o, const char *verb, const char *target, const char *args)
{
    struct frame_command f = {
        .verb = str_from(verb), .target = str_from(target), .args = str_from(args)};
    assert_int_equal(link_send(o->link, FRAME_command, &f), ERR_OK);
}

enum err operator_ask(struct operator* o, const char *verb, const char *target, const char *args)
{
    size_t n = o->n_answers;
    operator_send(o, verb, target, args);
    UNTIL(o->world, o->n_answers > n);
    return o->code;
}

const char *operator_engine_text(struct operator* o, const char *name, const char *key)
{
    assert_int_equal(operator_ask(o, "engines", "", ""), ERR_OK);
    const json_t *list = json_object_get(o->data, "engines");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(e, "name")), name) == 0)
            return json_string_value(json_object_get(e, key));
    }
    return "";
}
