/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/models.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"

enum { ASK_AGAIN_MS = 2000 };

static void on_again(struct loop_timer *t);

void models_init(struct models *m, struct loop *loop,
                 void (*encoded)(void *ctx, struct worker_job *job), void *ctx)
{
    *m = (struct models){.loop = loop, .encoded = encoded, .ctx = ctx};
}

static void served_free(struct served *s)
{
    loop_timer_cancel(s->models->loop, &s->again);
    worker_stop(s->worker);
    model_close(s->owned);
    free(s);
}

void models_fini(struct models *m)
{
    for (size_t i = 0; i < m->n; i++)
        served_free(m->list[i]);
    m->n = 0;
}

static struct served *find_hash(const struct models *m, struct str hash)
{
    for (size_t i = 0; i < m->n; i++) {
        if (str_is(hash, m->list[i]->hash))
            return m->list[i];
    }
    return NULL;
}

/* Makes room for another one. */
static bool make_room(struct models *m)
{
    for (size_t i = m->n; m->n == MODELS_MAX && i-- > 0;) {
        struct served *s = m->list[i];
        if (s->is_listed || s->n_replies > 0)
            continue;
        log_info("model-forgotten", S("model", s->name));
        served_free(s);
        m->n--;
        for (size_t k = i; k < m->n; k++)
            m->list[k] = m->list[k + 1];
    }
    return m->n < MODELS_MAX;
}

/* The model of that hash, a new one if need be; NULL when there are too many. */
static struct served *settle(struct models *m, struct str hash)
{
    struct served *s = find_hash(m, hash);
    if (s != NULL || hash.len > MODEL_HASH_LEN)
        return s;
    if (!make_room(m)) {
        log_warn("too-many-models", U("most", MODELS_MAX), SN("refused", hash.ptr, hash.len));
        return NULL;
    }
    s = mem_zalloc(1, sizeof *s);
    s->models = m;
    s->again.fire = on_again;
    (void)snprintf(s->hash, sizeof s->hash, "%.*s", (int)hash.len, hash.ptr);
    m->list[m->n++] = s;
    return s;
}

static enum err put_model(struct models *m, struct served *s, const struct model *model)
{
    enum err e = worker_start(m->loop, model, m->encoded, m->ctx, &s->worker);
    if (e != ERR_OK)
        return e;
    s->model = model;
    if (s->context == 0 || s->context > model->config.n_ctx)
        s->context = model->config.n_ctx;
    if (s->name[0] == '\0')
        (void)snprintf(s->name, sizeof s->name, "%s", model->config.name);
    return ERR_OK;
}

enum err models_add(struct models *m, const struct model *model)
{
    struct served *s = settle(m, str_from(model->hash));
    return s != NULL ? put_model(m, s, model) : ERR_FULL;
}

/* ---- what the router says ----------------------------------------------------------------------- */

/* Who is asked may be lost before it answers: then another one is, or the same when it is back. */
static void ask(struct served *s)
{
    const struct frame_vocabulary_ask f = {.model_hash = str_from(s->hash)};
    if (s->model != NULL || s->refused != ERR_OK || !s->is_listed || s->again.slot != 0)
        return;
    if (link_send(s->models->router, FRAME_vocabulary_ask, &f) == ERR_OK)
        loop_timer_set(s->models->loop, &s->again, ASK_AGAIN_MS);
}

static void on_again(struct loop_timer *t)
{
    ask((struct served *)(void *)((char *)t - offsetof(struct served, again)));
}

/* One model of the status; it gets the place `at` or one behind. */
static void note(struct models *m, const struct rec_model *r, bool is_offered, size_t *at)
{
    struct served *s = settle(m, r->hash);
    if (s == NULL)
        return;
    size_t i = 0;
    while (m->list[i] != s)
        i++;
    if (i >= *at) {
        for (; i > *at; i--)
            m->list[i] = m->list[i - 1];
        m->list[(*at)++] = s;
    }
    if (!s->is_listed || r->context < s->context)
        s->context = r->context;
    if (s->model != NULL && s->context > s->model->config.n_ctx)
        s->context = s->model->config.n_ctx;
    (void)snprintf(s->name, sizeof s->name, "%.*s", (int)r->name.len, r->name.ptr);
    (void)snprintf(s->numerics, sizeof s->numerics, "%.*s", (int)r->numerics.len, r->numerics.ptr);
    s->is_listed = true;
    s->is_offered |= is_offered;
    s->is_retired = r->retired;
    s->lanes |= r->lanes;
}

void models_lose(struct models *m)
{
    for (size_t i = 0; i < m->n; i++) {
        struct served *s = m->list[i];
        s->was_listed = s->is_listed;
        s->is_listed = s->is_offered = s->is_retired = false;
        s->lanes = 0;
    }
}

void models_update(struct models *m, const struct frame_status *f)
{
    size_t at = 0;
    models_lose(m);
    for (size_t i = 0; i < f->n_models; i++)
        note(m, &f->models[i], true, &at);
    for (size_t i = 0; i < f->n_others; i++)
        note(m, &f->others[i], false, &at);
    for (size_t i = 0; i < m->n && f->has_vocabularies; i++) {
        if (!m->list[i]->was_listed) /* who was asked before is gone */
            loop_timer_cancel(m->loop, &m->list[i]->again);
        ask(m->list[i]);
    }
}

bool models_learn(struct models *m, const struct frame_vocabulary *f)
{
    struct served *s = find_hash(m, f->model_hash);
    if (s == NULL || s->model != NULL)
        return false;
    uint64_t began_ns = clock_now_ns();
    loop_timer_cancel(m->loop, &s->again);
    s->refused = model_receive(f, s->why, sizeof s->why, &s->owned);
    if (s->refused == ERR_OK)
        s->refused = put_model(m, s, s->owned);
    if (s->refused == ERR_OK) {
        log_info("model-known", S("model", s->name), S("hash", s->hash),
                 U("tokens", vocab_size(s->model->vocab)),
                 S("rule", s->model->config.is_spm ? "spm" : s->model->config.pre_tokenizer),
                 U("jit", encode_has_jit(s->model->encoder)),
                 U("template", s->model->template != NULL),
                 U("us", (clock_now_ns() - began_ns) / 1000));
        if (s->model->has_other_template)
            log_warn("template-replaced", S("model", s->name));
        return true;
    }
    if (s->why[0] == '\0')
        (void)snprintf(s->why, sizeof s->why, "%s", err_text(s->refused));
    log_error("model-refused", S("model", s->name), S("err", err_name(s->refused)),
              S("why", s->why), S("hint", "halo inspect checks its file"));
    return true;
}

void models_tell(const struct models *m)
{
    struct rec_known_model items[MODELS_MAX];
    struct frame_known f = {.items = items};
    for (size_t i = 0; i < m->n; i++) {
        const struct served *s = m->list[i];
        if (s->model != NULL || s->refused != ERR_OK)
            items[f.n_items++] = (struct rec_known_model){.hash = str_from(s->hash),
                                                          .code = (uint32_t)s->refused,
                                                          .detail = str_from(s->why)};
    }
    if (link_send(m->router, FRAME_known, &f) != ERR_OK)
        log_debug("known-not-sent"); /* the link is going down; the next one hears it first */
}

/* ---- questions ---------------------------------------------------------------------------------- */

struct served *models_find(const struct models *m, struct str hash, struct str name)
{
    if (hash.len > 0)
        return find_hash(m, hash);
    for (size_t i = 0; i < m->n; i++) {
        if (m->list[i]->is_offered && (name.len == 0 || str_is(name, m->list[i]->name)))
            return m->list[i];
    }
    for (size_t i = 0; i < m->n; i++) {
        if (name.len == 0 || str_is(name, m->list[i]->name))
            return m->list[i];
    }
    return NULL;
}

void models_describe(const struct models *m, struct rec_model *items, struct rec_model *others,
                     struct frame_status *f)
{
    f->models = items;
    f->others = others;
    for (size_t i = 0; i < m->n; i++) {
        const struct served *s = m->list[i];
        if (s->model == NULL || !s->is_listed)
            continue;
        const struct rec_model r = {.name = str_from(s->name),
                                    .hash = str_from(s->hash),
                                    .context = s->context,
                                    .created = s->model->created,
                                    .license = str_from(s->model->license),
                                    .description = str_from(s->model->description),
                                    .vocab_size = s->model->config.n_vocab,
                                    .numerics = str_from(s->numerics),
                                    .retired = s->is_retired,
                                    .lanes = s->lanes};
        if (s->is_offered)
            items[f->n_models++] = r;
        else
            others[f->n_others++] = r;
    }
}
