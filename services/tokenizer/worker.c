/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/worker.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/tokenizer/prompt.h"

struct worker {
    struct loop *loop;
    const struct model *model;
    struct encoder *encoder; /* the thread's */
    void (*done)(void *ctx, struct worker_job *job);
    void *ctx;
    pthread_t thread;
    size_t n_jobs; /* the loop's thread: submitted and not yet back */
    size_t n_bytes; /* of their texts */

    pthread_mutex_t lock; /* of what follows, and of the jobs' `user` */
    pthread_cond_t more;
    struct worker_job *first;
    struct worker_job **last;
    bool is_stopping;
};

bool worker_is_for(const struct frame_generate *f)
{
    return f->kind != PROMPT_IDS &&
           f->messages.len + f->prompt.len + f->template_args.len >= WORKER_LONG_BYTES;
}

static void job_free(struct worker_job *job)
{
    buf_fini(&job->text);
    ids_fini(&job->resume);
    ids_fini(&job->prompt);
    free(job);
}

static void worker_free(struct worker *w)
{
    (void)pthread_cond_destroy(&w->more);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

/* ---- on the loop's thread ----------------------------------------------------------------------- */

static void come_back(struct loop_task *t)
{
    struct worker_job *job = (struct worker_job *)((char *)t - offsetof(struct worker_job, task));
    struct worker *w = job->worker;
    w->n_jobs--;
    w->n_bytes -= job->text.len;
    if (job->user && !w->is_stopping)
        w->done(w->ctx, job);
    job_free(job);
    if (w->is_stopping && w->n_jobs == 0)
        worker_free(w); /* the last that was on its way when the worker stopped */
}

static struct str copy_text(struct buf *to, struct str s)
{
    struct str copy = {to->ptr + to->len, s.len};
    buf_add_str(to, s);
    return copy;
}

static enum err copy_request(struct worker_job *job, const struct frame_generate *f)
{
    (void)buf_reserve(&job->text, f->messages.len + f->prompt.len + f->template_args.len);
    job->frame = (struct frame_generate){
        .kind = f->kind,
        .messages = copy_text(&job->text, f->messages),
        .prompt = copy_text(&job->text, f->prompt),
        .template_args = copy_text(&job->text, f->template_args),
        .no_generation_prompt = f->no_generation_prompt,
        .continue_final = f->continue_final,
    };
    enum err e = ids_append(&job->resume, f->resume, f->n_resume);
    job->frame.resume = job->resume.v;
    job->frame.n_resume = job->resume.n;
    return e;
}

enum err worker_submit(struct worker *w, const struct frame_generate *f, uint32_t context,
                       void *user, struct worker_job **ret_job)
{
    size_t n = f->messages.len + f->prompt.len + f->template_args.len;
    if (w->n_jobs == WORKER_MAX_JOBS || n > WORKER_MAX_BYTES - w->n_bytes)
        return ERR_FULL;
    struct worker_job *job = mem_zalloc(1, sizeof *job);
    job->task.run = come_back;
    job->worker = w;
    job->user = user;
    job->context = context;
    enum err e = copy_request(job, f);
    if (e != ERR_OK) {
        job_free(job);
        return e;
    }
    w->n_jobs++;
    w->n_bytes += job->text.len;
    *ret_job = job;
    (void)pthread_mutex_lock(&w->lock);
    *w->last = job;
    w->last = &job->next;
    (void)pthread_cond_signal(&w->more);
    (void)pthread_mutex_unlock(&w->lock);
    return ERR_OK;
}

void worker_drop(struct worker_job *job)
{
    if (!job)
        return;
    (void)pthread_mutex_lock(&job->worker->lock);
    job->user = NULL;
    (void)pthread_mutex_unlock(&job->worker->lock);
}

/* ---- on its own --------------------------------------------------------------------------------- */

/* The next job; NULL when the worker stops. */
static struct worker_job *take(struct worker *w, bool *ret_is_wanted)
{
    (void)pthread_mutex_lock(&w->lock);
    while (!w->first && !w->is_stopping)
        (void)pthread_cond_wait(&w->more, &w->lock);
    struct worker_job *job = w->is_stopping ? NULL : w->first;
    if (job) {
        w->first = job->next;
        if (!w->first)
            w->last = &w->first;
        *ret_is_wanted = job->user != NULL;
    }
    (void)pthread_mutex_unlock(&w->lock);
    return job;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    bool is_wanted = false;
    for (struct worker_job *job; (job = take(w, &is_wanted)) != NULL;) {
        if (is_wanted)
            job->err = prompt_encode(w->model, w->encoder, &job->frame, job->context, job->why,
                                     sizeof job->why, &job->prompt);
        loop_post(w->loop, &job->task);
    }
    return NULL;
}

enum err worker_start(struct loop *loop, const struct model *model,
                      void (*done)(void *ctx, struct worker_job *job), void *ctx,
                      struct worker **ret_worker)
{
    char why[WORKER_WHY_BYTES];
    struct worker *w = mem_zalloc(1, sizeof *w);
    w->loop = loop;
    w->model = model;
    w->done = done;
    w->ctx = ctx;
    w->last = &w->first;
    ASSERT(pthread_mutex_init(&w->lock, NULL) == 0 && pthread_cond_init(&w->more, NULL) == 0);
    enum err e = encode_new(model->vocab, model->config.pre_tokenizer, model->config.does_add_space,
                            why, sizeof why, &w->encoder);
    if (e == ERR_OK && pthread_create(&w->thread, NULL, run, w) != 0)
        e = ERR_NOMEM;
    if (e != ERR_OK)
        goto fail;
    *ret_worker = w;
    return ERR_OK;
fail:
    encode_free(w->encoder);
    worker_free(w);
    return e;
}

void worker_stop(struct worker *w)
{
    if (!w)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    (void)pthread_cond_signal(&w->more);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    encode_free(w->encoder);
    for (struct worker_job *next; w->first; w->first = next) {
        next = w->first->next;
        job_free(w->first);
        w->n_jobs--;
    }
    if (w->n_jobs == 0)
        worker_free(w);
}
