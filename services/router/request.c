/* SPDX-License-Identifier: MIT */
#include "services/router/request.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"

/* A copy in the request's arena of n elements; NULL stays NULL. */
static bool copy(struct request *q, const void *from, size_t n, size_t size, const void **ret)
{
    *ret = NULL;
    if (n == 0)
        return true;
    void *p = arena_alloc(&q->arena, n * size); /* n is capped by the codec */
    if (p == NULL)
        return false;
    memcpy(p, from, n * size);
    *ret = p;
    return true;
}

static bool copy_fields(struct request *q, const struct frame_submit *f)
{
    struct frame_submit *s = &q->submit;
    const void *prompt;
    const void *stop_ids;
    const void *bias;
    if (!copy(q, f->prompt, f->n_prompt, sizeof *f->prompt, &prompt) ||
        !copy(q, f->sampling.stop_ids, f->sampling.n_stop_ids, sizeof(uint32_t), &stop_ids) ||
        !copy(q, f->sampling.logit_bias, f->sampling.n_logit_bias, sizeof(struct rec_bias), &bias))
        return false;
    const char *hash = arena_strdup(&q->arena, f->model_hash);
    const char *trace = arena_strdup(&q->arena, f->trace);
    if (hash == NULL || trace == NULL)
        return false;
    *s = *f;
    s->trace = (struct str){trace, f->trace.len};
    s->prompt = prompt;
    s->sampling.stop_ids = stop_ids;
    s->sampling.logit_bias = bias;
    s->model_hash = (struct str){hash, f->model_hash.len};
    s->resume = NULL;
    s->n_resume = 0;
    return true;
}

enum err request_new(const struct frame_submit *f, struct request **ret_request)
{
    struct request *q = mem_zalloc(1, sizeof *q);
    q->req = f->req;
    if (!copy_fields(q, f)) {
        request_free(q);
        return ERR_NOMEM;
    }
    q->cap_ids = f->n_resume + 64;
    q->ids = mem_zalloc(q->cap_ids, sizeof *q->ids);
    if (f->n_resume > 0)
        memcpy(q->ids, f->resume, f->n_resume * sizeof *q->ids);
    q->n_ids = f->n_resume;
    q->waiting_ns = clock_now_ns();
    if (f->deadline_ms > 0)
        q->deadline_ns = q->waiting_ns + f->deadline_ms * UINT64_C(1000000);
    *ret_request = q;
    return ERR_OK;
}

void request_free(struct request *q)
{
    if (q == NULL)
        return;
    arena_fini(&q->arena);
    free(q->ids);
    free(q);
}

void request_record(struct request *q, uint32_t id)
{
    if (q->n_ids == q->cap_ids) {
        q->cap_ids *= 2;
        q->ids = mem_resize(q->ids, q->cap_ids, sizeof *q->ids);
    }
    q->ids[q->n_ids++] = id;
}

void request_fix(struct request *q, const char *model_hash, uint64_t numbers, uint32_t context)
{
    struct frame_submit *s = &q->submit;
    if (q->n_ids == 0 || s->numbers == 0)
        s->numbers = numbers;
    if (q->was_placed)
        return;
    q->was_placed = true;
    if (s->model_hash.len == 0) {
        const char *hash = arena_strdup(&q->arena, str_from(model_hash));
        if (hash != NULL) /* else the next engine may be of another model, as was allowed */
            s->model_hash = str_from(hash);
    }
    size_t room = context - s->n_prompt;
    if (s->sampling.max_tokens > room)
        s->sampling.max_tokens = (uint32_t)room;
    if (s->sampling.min_tokens > s->sampling.max_tokens)
        s->sampling.min_tokens = s->sampling.max_tokens;
}

struct frame_submit request_to_submit(const struct request *q)
{
    struct frame_submit f = q->submit;
    f.req = q->id;
    f.resume = q->ids;
    f.n_resume = q->n_ids;
    f.share = 0;
    f.again = false;
    f.deadline_ms = 0;
    if (q->deadline_ns > 0) {
        uint64_t now = clock_now_ns();
        uint64_t left_ms = q->deadline_ns > now ? (q->deadline_ns - now) / 1000000U : 0;
        f.deadline_ms = left_ms > 0 ? (uint32_t)left_ms : 1;
    }
    return f;
}
