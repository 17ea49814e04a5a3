/* SPDX-License-Identifier: MIT */
/* The children together: started stage by stage, each stage when the one before is ready; stopped the
 * other way round. If a child fails during the first start, everything is stopped again. */
#ifndef HALO_SUPERVISOR_STACK_H
#define HALO_SUPERVISOR_STACK_H

#include <stdbool.h>
#include <stddef.h>

#include "common/loop.h"
#include "services/supervisor/child.h"
#include "services/supervisor/plan.h"

struct stack;

struct stack_config {
    struct loop *loop;
    const char *run;
    const char *log_directory;
    const struct plan *plan;
    int take_http_fd; /* listens at --http; taken by stack_new */
    uint32_t watchdog_ms;
    uint32_t start_timeout_ms;
    uint32_t stop_timeout_ms;
    /* A child changed its state. */
    void (*changed)(void *ctx, struct child *c);
    /* All children are ready; once. */
    void (*ready)(void *ctx);
    /* A child that stack_retire was called for has stopped and is freed next. */
    void (*gone)(void *ctx, const struct child *c);
    /* All children are stopped; once. `why` is "" or what failed, in one line. */
    void (*stopped)(void *ctx, const char *why);
    void *ctx;
};

/* Takes SIGCHLD: call it before any other thread exists. config is borrowed. */
MUST_CHECK enum err stack_new(const struct stack_config *config, struct stack **ret_stack);
void stack_free(struct stack *s);

void stack_start(struct stack *s);

/* Stops the children in order; called again, kills them at once. */
void stack_stop(struct stack *s);

bool stack_is_running(const struct stack *s); /* started and not stopping */
size_t stack_count(const struct stack *s);
struct child *stack_child(struct stack *s, size_t i);

/* Starts another child, placed after `beside`. The spec is the stack's from then on; also on failure. */
MUST_CHECK enum err stack_add(struct stack *s, const struct child *beside,
                              struct child_spec *take_spec, struct child **ret_child);

/* From its next start on a child that stack_add made is in service. */
void stack_put_in_service(struct stack *s, const struct child *c);

/* Stops a child and forgets it when it has stopped. `heir` (one that stack_add made, or NULL) has its
 * name then. */
void stack_retire(struct stack *s, struct child *c, struct child *heir);

/* NULL if there is none of that name. */
struct child *stack_find(struct stack *s, struct str name);

#endif
