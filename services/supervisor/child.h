/* SPDX-License-Identifier: MIT */
/* One supervised process and its life: started, ready, lost and started again, stopped.
 *
 * A child that ends is started again. If it had become ready: at once, or after 100 ms when it ended
 * CHILD_FREE_RESTARTS times in a row within CHILD_HEALTHY_MS of readiness. If it had not: at once the
 * first time, then after 100 ms, doubled up to 5 s. A ready child that stops feeding its watchdog, or one
 * that is not ready in time, is killed and counts as ended. A child that never was ready and ends is
 * `failed` and is left alone: that is for the operator. */
#ifndef HALO_SUPERVISOR_CHILD_H
#define HALO_SUPERVISOR_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/loop.h"
#include "proto/frames.h"
#include "services/supervisor/notify_socket.h"
#include "services/supervisor/plan.h"

enum {
    CHILD_BACKOFF_FIRST_MS = 100,
    CHILD_BACKOFF_MAX_MS = 5000,
    CHILD_HEALTHY_MS = 1000,
    CHILD_FREE_RESTARTS = 8,
};

enum child_state {
    CHILD_STOPPED,
    CHILD_STARTING,
    CHILD_READY,
    CHILD_BACKOFF, /* waits to be started again */
    CHILD_STOPPING,
    CHILD_FAILED,
};

struct child;

struct child_config {
    struct loop *loop;
    const char *run;
    const char *log_directory;
    const char *notify; /* path of the notify socket */
    int http_fd; /* for children with SOCKET_HTTP */
    uint32_t watchdog_ms;
    uint32_t start_timeout_ms;
    uint32_t stop_timeout_ms;
    /* The state has changed. Must not free the child. */
    void (*changed)(void *ctx, struct child *c);
    void *ctx;
};

/* config and spec are borrowed for the child's life. */
MUST_CHECK enum err child_new(const struct child_config *config, const struct child_spec *spec,
                              struct child **ret_child);

/* Kills and reaps what still runs. */
void child_free(struct child *c);

void child_start(struct child *c);

/* SIGTERM, and SIGKILL after stop_timeout_ms. */
void child_stop(struct child *c);

/* SIGKILL now to what child_stop was called for. */
void child_kill(struct child *c);

/* Stops it and starts it again. */
void child_restart(struct child *c);

/* Its process was reaped with this status (waitpid). */
void child_on_exit(struct child *c, int wait_status);

void child_on_notice(struct child *c, const struct notice *n);

const struct child_spec *child_spec(const struct child *c); /* as it was made with */
const char *child_name(const struct child *c);
unsigned child_stage(const struct child *c);
pid_t child_pid(const struct child *c); /* 0 when it does not run */
enum child_state child_state(const struct child *c);
const char *child_state_name(enum child_state s);
bool child_is_settled(const struct child *c); /* stopped or failed: no process, none to come */

/* Milliseconds from its last start to its readiness. */
uint64_t child_ready_ms(const struct child *c);

/* "exit 1", "signal 9", "watchdog", "start timeout"; "" if it never ended. */
const char *child_last_exit(const struct child *c);

/* The last line that it printed. */
const char *child_last_line(const struct child *c);

/* For the wire; lends until the child changes. */
struct rec_child child_describe(const struct child *c);

#endif
