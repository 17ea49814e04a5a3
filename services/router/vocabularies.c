/* SPDX-License-Identifier: MIT */
#include "services/router/vocabularies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/router/router_internal.h"

enum { DETAIL_CAP = 240 };

/* What a tokenizer said of one model. */
struct known {
    char hash[ENGINE_HASH_MAX + 1];
    enum err code;
    char detail[DETAIL_CAP];
};

static void pass_on(const struct router *r, struct tokenizer *t,
                    const struct frame_vocabulary_ask *f)
{
    t->asks_vocabularies = true;
    for (const struct engine *e = TAILQ_FIRST(&r->engines.list); e != NULL;
         e = TAILQ_NEXT(e, entry)) {
        if (!e->is_ready || !e->has_vocabulary || !str_is(f->model_hash, e->model_hash))
            continue;
        if (link_send(e->peer.link, FRAME_vocabulary_ask, f) == ERR_OK)
            return;
    }
    log_debug("no-vocabulary", S("for", t->peer.name),
              SN("model", f->model_hash.ptr, f->model_hash.len));
}

enum err vocabularies_answer(const struct router *r, const struct frame_vocabulary *f)
{
    for (const struct tokenizer *t = TAILQ_FIRST(&r->queue.tokenizers); t != NULL;
         t = TAILQ_NEXT(t, entry)) {
        enum err e = ERR_OK;
        if (t->asks_vocabularies)
            e = link_send(t->peer.link, FRAME_vocabulary, f);
        if (e != ERR_OK && e != ERR_CLOSED)
            log_error("vocabulary-not-sent", S("to", t->peer.name), S("err", err_name(e)));
    }
    return ERR_OK;
}

static enum err note(struct router *r, struct tokenizer *t, const struct frame_known *f)
{
    struct known *list = calloc(f->n_items + 1, sizeof *list);
    if (list == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < f->n_items; i++) {
        const struct rec_known_model *k = &f->items[i];
        (void)snprintf(list[i].hash, sizeof list[i].hash, "%.*s", (int)k->hash.len, k->hash.ptr);
        (void)snprintf(list[i].detail, sizeof list[i].detail, "%.*s", (int)k->detail.len,
                       k->detail.ptr);
        list[i].code = err_from_number(k->code);
    }
    vocabularies_forget(t);
    t->known = list;
    t->n_known = f->n_items;
    t->since_ns = clock_now_ns();
    handover_on_known(r);
    return ERR_OK;
}

enum err vocabularies_on_frame(struct router *r, struct tokenizer *t, const struct frame *f)
{
    if (f->type == FRAME_known)
        return note(r, t, f->body);
    pass_on(r, t, f->body);
    return ERR_OK;
}

static const struct known *find(const struct tokenizer *t, const char *hash)
{
    for (size_t i = 0; i < t->n_known; i++) {
        if (strcmp(t->known[i].hash, hash) == 0)
            return &t->known[i];
    }
    return NULL;
}

enum err vocabularies_state(const struct router *r, const char *model_hash, const char **ret_why)
{
    enum err state = TAILQ_EMPTY(&r->queue.tokenizers) ? ERR_AGAIN : ERR_OK;
    for (const struct tokenizer *t = TAILQ_FIRST(&r->queue.tokenizers); t != NULL;
         t = TAILQ_NEXT(t, entry)) {
        const struct known *k = find(t, model_hash);
        if (k == NULL) {
            state = ERR_AGAIN;
        } else if (k->code != ERR_OK) {
            *ret_why = k->detail;
            return k->code;
        }
    }
    return state;
}

void vocabularies_forget(struct tokenizer *t)
{
    free(t->known);
    t->known = NULL;
    t->n_known = 0;
}
