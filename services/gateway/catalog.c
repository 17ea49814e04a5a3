/* SPDX-License-Identifier: MIT */
#include "services/gateway/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"

void catalog_init(struct catalog *c, uint32_t patience_ms)
{
    *c = (struct catalog){.patience_ms = patience_ms};
}

static void model_fini(struct catalog_model *m)
{
    free(m->name);
    free(m->hash);
    free(m->license);
    free(m->description);
    free(m->numerics);
}

void catalog_fini(struct catalog *c)
{
    for (size_t i = 0; i < c->n; i++)
        model_fini(&c->models[i]);
    c->n = 0;
}

/* ---- what the status says ------------------------------------------------------------------------ */

static char *copy(struct str s)
{
    return mem_strndup(s.ptr != NULL ? s.ptr : "", s.len);
}

static bool has_name(const struct catalog *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->models[i].name, name) == 0)
            return true;
    }
    return false;
}

static void add(struct catalog *c, const struct rec_model *m)
{
    struct catalog_model made = {
        .name = copy(m->name),
        .hash = copy(m->hash),
        .license = copy(m->license),
        .description = copy(m->description),
        .numerics = copy(m->numerics),
        .context = m->context,
        .vocab_size = m->vocab_size,
        .lanes = m->lanes,
        .created = m->created,
    };
    if (c->n < CATALOG_MAX && !has_name(c, made.name))
        c->models[c->n++] = made;
    else
        model_fini(&made);
}

static bool is_retired(const struct frame_status *f, const struct catalog_model *m)
{
    for (size_t i = 0; i < f->n_others; i++) {
        if (f->others[i].retired && str_is(f->others[i].hash, m->hash))
            return true;
    }
    return false;
}

static bool is_forgotten(const struct catalog *c, const struct catalog_model *m, uint64_t now_ms)
{
    return m->lost_ms > 0 && now_ms - m->lost_ms >= c->patience_ms;
}

void catalog_update(struct catalog *c, const struct frame_status *f)
{
    struct catalog old = *c;
    uint64_t now_ms = clock_now_ms();
    c->n = 0;
    for (size_t i = 0; i < f->n_models; i++)
        add(c, &f->models[i]);
    for (size_t i = 0; i < old.n; i++) {
        struct catalog_model *m = &old.models[i];
        if (m->lost_ms == 0)
            m->lost_ms = now_ms;
        if (c->n < CATALOG_MAX && !has_name(c, m->name) && !is_retired(f, m) &&
            (f->n_models == 0 || !is_forgotten(c, m, now_ms)))
            c->models[c->n++] = *m;
        else
            model_fini(m);
    }
}

/* ---- questions ----------------------------------------------------------------------------------- */

size_t catalog_n_served(const struct catalog *c)
{
    size_t n = 0;
    while (n < c->n && c->models[n].lost_ms == 0)
        n++;
    return n;
}

static bool is_of_lane(const struct catalog_model *m, uint32_t lane)
{
    return m->lanes == 0 || (m->lanes >> lane & 1) != 0;
}

const struct catalog_model *catalog_at(const struct catalog *c, uint32_t lane, size_t i)
{
    uint64_t now_ms = clock_now_ms();
    bool is_lane_known = false;
    for (size_t k = 0; k < c->n; k++)
        is_lane_known |= is_of_lane(&c->models[k], lane);
    for (size_t k = 0; k < c->n; k++) {
        const struct catalog_model *m = &c->models[k];
        if (is_forgotten(c, m, now_ms) || (is_lane_known && !is_of_lane(m, lane)))
            continue;
        if (i-- == 0)
            return m;
    }
    return NULL;
}

const struct catalog_model *catalog_find(const struct catalog *c, uint32_t lane, struct str name)
{
    const struct catalog_model *m;
    size_t i = 0;
    while ((m = catalog_at(c, lane, i)) != NULL && !str_is(name, m->name))
        i++;
    return m;
}

const char *catalog_why_not(const struct catalog *c, bool is_patient)
{
    if (c->n == 0)
        return "no model is served by an engine yet";
    if (catalog_n_served(c) > 0)
        return NULL;
    return is_patient && catalog_at(c, 0, 0) != NULL ? NULL : "no engine is ready";
}
