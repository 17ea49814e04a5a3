/* SPDX-License-Identifier: MIT */
#include "services/engine/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/fault.h"
#include "common/mem.h"
#include "common/notify.h"
#include "common/timeslice.h"

enum command_kind {
    COMMAND_SUBMIT,
    COMMAND_CANCEL,
    COMMAND_CANCEL_ALL,
    COMMAND_CARRY,
    COMMAND_STOP,
};

struct command {
    struct command *next;
    enum command_kind kind;
    struct seq *seq;
    struct carry_job *job;
    uint64_t number; /* request id or epoch */
};

struct worker {
    struct scheduler *scheduler;
    const struct carry *carry;
    struct loop *loop;
    void (*on_result)(void *ctx, const struct worker_result *r);
    void *ctx;
    pthread_t thread;
    uint64_t epoch; /* the step thread's */
    bool is_stopped; /* the loop thread's */

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t is_filled;
    struct command *first; /* to the step thread */
    struct command **end;
    struct loop_task task; /* hands out `results`; queued while there are any */
    struct worker_result *results;
    struct worker_result **results_end;
};

/* ---- loop thread ---- */

static void send_command(struct worker *w, const struct command *command)
{
    struct command *c = mem_zalloc(1, sizeof *c);
    *c = *command;
    ASSERT(pthread_mutex_lock(&w->mutex) == 0);
    *w->end = c;
    w->end = &c->next;
    ASSERT(pthread_cond_signal(&w->is_filled) == 0);
    ASSERT(pthread_mutex_unlock(&w->mutex) == 0);
}

void worker_submit(struct worker *w, struct seq *take_seq)
{
    send_command(w, &(struct command){.kind = COMMAND_SUBMIT, .seq = take_seq});
}

void worker_cancel(struct worker *w, uint64_t req)
{
    send_command(w, &(struct command){.kind = COMMAND_CANCEL, .number = req});
}

void worker_cancel_all(struct worker *w, uint64_t epoch)
{
    send_command(w, &(struct command){.kind = COMMAND_CANCEL_ALL, .number = epoch});
}

void worker_carry(struct worker *w, struct carry_job *take_job)
{
    send_command(w, &(struct command){.kind = COMMAND_CARRY, .job = take_job});
}

static struct worker_result *take_results(struct worker *w)
{
    ASSERT(pthread_mutex_lock(&w->mutex) == 0);
    struct worker_result *all = w->results;
    w->results = NULL;
    w->results_end = &w->results;
    ASSERT(pthread_mutex_unlock(&w->mutex) == 0);
    return all;
}

static void worker_free(struct worker *w)
{
    (void)pthread_cond_destroy(&w->is_filled);
    (void)pthread_mutex_destroy(&w->mutex);
    free(w);
}

static void hand_out(struct loop_task *t)
{
    struct worker *w = (struct worker *)((char *)t - offsetof(struct worker, task));
    struct worker_result *r = take_results(w);
    while (r != NULL) {
        struct worker_result *next = r->next;
        if (!w->is_stopped)
            w->on_result(w->ctx, r);
        carry_job_free(r->job);
        arena_fini(&r->arena);
        free(r);
        r = next;
    }
    if (w->is_stopped)
        worker_free(w);
}

/* ---- step thread ---- */

/* Waits for commands unless there is work, and takes all of them. */
static struct command *take_commands(struct worker *w, bool has_work)
{
    ASSERT(pthread_mutex_lock(&w->mutex) == 0);
    while (w->first == NULL && !has_work)
        ASSERT(pthread_cond_wait(&w->is_filled, &w->mutex) == 0);
    struct command *all = w->first;
    w->first = NULL;
    w->end = &w->first;
    ASSERT(pthread_mutex_unlock(&w->mutex) == 0);
    return all;
}

static void post_result(struct worker *w, struct worker_result *r)
{
    ASSERT(pthread_mutex_lock(&w->mutex) == 0);
    bool is_first = w->results == NULL;
    *w->results_end = r;
    w->results_end = &r->next;
    ASSERT(pthread_mutex_unlock(&w->mutex) == 0);
    if (is_first)
        loop_post(w->loop, &w->task);
}

static void do_carry(struct worker *w, struct carry_job *job)
{
    struct worker_result *r = mem_zalloc(1, sizeof *r);
    carry_do(w->carry, job);
    notify_progress();
    r->job = job;
    r->epoch = w->epoch;
    r->load = scheduler_load(w->scheduler);
    post_result(w, r);
}

/* Carries out and frees the commands; false when the thread shall end. */
static bool obey(struct worker *w, struct command *all)
{
    bool goes_on = true;
    while (all != NULL) {
        struct command *c = all;
        all = c->next;
        switch (c->kind) {
        case COMMAND_SUBMIT:
            scheduler_add(w->scheduler, c->seq);
            break;
        case COMMAND_CANCEL:
            scheduler_cancel(w->scheduler, c->number);
            break;
        case COMMAND_CANCEL_ALL:
            scheduler_cancel_all(w->scheduler);
            w->epoch = c->number;
            break;
        case COMMAND_CARRY:
            do_carry(w, c->job);
            break;
        case COMMAND_STOP:
            goes_on = false;
            break;
        }
        free(c);
    }
    return goes_on;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    timeslice_restore();
    enum err error = ERR_OK;
    while (obey(w, take_commands(w, scheduler_has_work(w->scheduler) && error == ERR_OK))) {
        bool has_work = scheduler_has_work(w->scheduler) && error == ERR_OK;
        notify_busy(has_work);
        struct worker_result *r = mem_zalloc(1, sizeof *r);
        if (has_work && FAULT_HITS(spin_step))
            fault_spin();
        if (has_work) {
            error = scheduler_step(w->scheduler, &r->arena, &r->items, &r->n_items);
            notify_progress();
            notify_busy(scheduler_has_work(w->scheduler));
        }
        r->error = error;
        r->epoch = w->epoch;
        r->load = scheduler_load(w->scheduler);
        post_result(w, r);
    }
    notify_busy(false);
    return NULL;
}

/* ---- start and stop ---- */

enum err worker_start(struct scheduler *scheduler, const struct carry *carry, struct loop *loop,
                      void (*on_result)(void *ctx, const struct worker_result *r), void *ctx,
                      struct worker **ret_worker)
{
    struct worker *w = mem_zalloc(1, sizeof *w);
    w->scheduler = scheduler;
    w->carry = carry;
    w->loop = loop;
    w->on_result = on_result;
    w->ctx = ctx;
    w->end = &w->first;
    w->results_end = &w->results;
    w->task.run = hand_out;
    ASSERT(pthread_mutex_init(&w->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&w->is_filled, NULL) == 0);
    /* Signals are the loop thread's. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, work, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        free(w);
        return ERR_AGAIN;
    }
    *ret_worker = w;
    return ERR_OK;
}

void worker_stop(struct worker *w)
{
    if (w == NULL)
        return;
    send_command(w, &(struct command){.kind = COMMAND_STOP});
    ASSERT(pthread_join(w->thread, NULL) == 0);
    ASSERT(w->first == NULL);
    w->is_stopped = true;
    if (w->results == NULL)
        worker_free(w);
}
