/* SPDX-License-Identifier: MIT */
#include "services/router/status.h"

static struct rec_model *find_model(struct rec_model *models, size_t n, const struct engine *e)
{
    for (size_t i = 0; i < n; i++) {
        if (str_is(models[i].name, e->model_name) && str_is(models[i].hash, e->model_hash))
            return &models[i];
    }
    return NULL;
}

/* A model that takes requests. */
static void add_model(struct status *s, const struct engine *e, uint32_t lane)
{
    struct rec_model *m = find_model(s->models, s->frame.n_models, e);
    if (m != NULL) {
        m->lanes |= 1U << lane;
        if (e->context < m->context)
            m->context = e->context;
        if (!str_is(m->numerics, e->numerics))
            m->numerics = STR_LIT("mixed");
        return;
    }
    if (s->frame.n_models == STATUS_MODELS_MAX)
        return;
    /* What else a model is, its tokenizer knows. */
    s->models[s->frame.n_models++] = (struct rec_model){
        .name = str_from(e->model_name),
        .hash = str_from(e->model_hash),
        .context = e->context,
        .numerics = str_from(e->numerics),
        .lanes = 1U << lane,
    };
}

/* A model of an engine that takes none, unless another one does. */
static void add_other(struct status *s, const struct engine *e)
{
    if (find_model(s->models, s->frame.n_models, e) != NULL)
        return;
    struct rec_model *m = find_model(s->others, s->frame.n_others, e);
    if (m == NULL && s->frame.n_others < STATUS_MODELS_MAX) {
        m = &s->others[s->frame.n_others++];
        *m = (struct rec_model){.name = str_from(e->model_name),
                                .hash = str_from(e->model_hash),
                                .context = e->context,
                                .numerics = str_from(e->numerics)};
    }
    if (m != NULL)
        m->retired |= e->is_retired;
}

static void add_load(struct rec_load *sum, const struct engine *e)
{
    sum->engines++;
    sum->running += e->load.running;
    sum->waiting += e->load.waiting;
    sum->kv_blocks += e->kv_blocks;
    sum->kv_blocks_used += e->load.kv_blocks_used;
    sum->preemptions += e->load.preemptions;
    sum->prefix_queries += e->load.prefix_queries;
    sum->prefix_hits += e->load.prefix_hits;
    sum->draft_tokens += e->load.draft_tokens;
    sum->accepted_tokens += e->load.accepted_tokens;
}

void status_fill(struct status *s, const struct engines *engines, const struct queue *queue,
                 const struct lanes *lanes)
{
    s->frame =
        (struct frame_status){.models = s->models, .others = s->others, .has_vocabularies = true};
    s->frame.load = (struct rec_load){
        .waiting = queue->n_waiting + queue->n_replays,
        .preemptions = engines->gone.preemptions,
        .prefix_queries = engines->gone.prefix_queries,
        .prefix_hits = engines->gone.prefix_hits,
        .draft_tokens = engines->gone.draft_tokens,
        .accepted_tokens = engines->gone.accepted_tokens,
        .replays = queue->n_replays_ever,
        .queue_limit = queue->limit,
    };
    for (uint32_t lane = 0; lane < LANES; lane++) {
        for (const struct engine *e = TAILQ_FIRST(&engines->list); e != NULL;
             e = TAILQ_NEXT(e, entry)) {
            if (!e->is_ready || e->group != lanes->group_of[lane])
                continue;
            if (!e->is_out)
                add_model(s, e, lane);
            add_load(&s->frame.load, e);
        }
    }
    for (const struct engine *e = TAILQ_FIRST(&engines->list); e != NULL;
         e = TAILQ_NEXT(e, entry)) {
        if (e->is_ready && e->is_out)
            add_other(s, e);
    }
}
