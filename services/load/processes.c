/* SPDX-License-Identifier: MIT */
#include "services/load/processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "proto/link.h"

enum { SUPERVISOR_MS = 1000, TURN_MS = 50 };

void processes_add(struct processes *p, const char *name, pid_t pid)
{
    if (p->n == PROCESSES_MAX)
        return;
    struct process *q = &p->list[p->n++];
    *q = (struct process){.pid = pid};
    (void)snprintf(q->name, sizeof q->name, "%s", name);
}

static bool read_cpu(pid_t pid, uint64_t *ret_ns)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return false;
    *ret_ns = (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
    return true;
}

/* The second number of each thread's schedstat; 0 where the kernel does not keep it. */
static uint64_t read_waited(pid_t pid)
{
    char path[64];
    uint64_t sum = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (const struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;) {
        char file[350];
        char line[128];
        (void)snprintf(file, sizeof file, "%s/%s/schedstat", path, d->d_name);
        FILE *f = d->d_name[0] != '.' ? fopen(file, "re") : NULL;
        if (f == NULL)
            continue;
        const char *waited = fgets(line, sizeof line, f) != NULL ? strchr(line, ' ') : NULL;
        sum += waited != NULL ? strtoull(waited, NULL, 10) : 0;
        (void)fclose(f);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return sum;
}

static uint64_t read_memory(pid_t pid)
{
    char path[64];
    char line[128] = ""; /* sizes in pages: virtual, resident, ... */
    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    const char *resident = fgets(line, sizeof line, f) != NULL ? strchr(line, ' ') : NULL;
    (void)fclose(f);
    return resident != NULL ? strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void processes_begin(struct processes *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct process *q = &p->list[i];
        q->is_lost = !read_cpu(q->pid, &q->before_ns);
        q->waited_before_ns = read_waited(q->pid);
    }
}

void processes_end(struct processes *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct process *q = &p->list[i];
        uint64_t now = 0;
        q->is_lost = q->is_lost || !read_cpu(q->pid, &now);
        q->used_ns = q->is_lost ? 0 : now - q->before_ns;
        uint64_t waited = q->is_lost ? 0 : read_waited(q->pid);
        q->waited_ns = waited > q->waited_before_ns ? waited - q->waited_before_ns : 0;
        q->memory_bytes = read_memory(q->pid);
    }
}

/* ---- a supervised stack ------------------------------------------------------------------------ */

struct asking {
    struct processes *processes;
    bool is_over;
    bool is_answered;
};

static void on_up(void *ctx, struct link *l)
{
    struct asking *a = ctx;
    const struct frame_command command = {.verb = STR_LIT("status")};
    a->is_over = link_send(l, FRAME_command, &command) != ERR_OK;
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct asking *a = ctx;
    (void)l;
    if (f->type != FRAME_reply)
        return;
    const struct frame_reply *reply = f->body;
    for (size_t i = 0; i < reply->n_children; i++) {
        const struct rec_child *c = &reply->children[i];
        char name[32];
        int n = c->name.len < sizeof name ? (int)c->name.len : (int)sizeof name - 1;
        (void)snprintf(name, sizeof name, "%.*s", n, c->name.ptr);
        if (c->pid != 0)
            processes_add(a->processes, name, (pid_t)c->pid);
    }
    a->is_answered = true;
    a->is_over = true;
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    struct asking *a = ctx;
    (void)l;
    (void)why;
    a->is_over = true;
}

bool processes_add_stack(struct processes *p, struct loop *loop, const char *run)
{
    struct asking a = {.processes = p};
    const struct link_handler handler = {on_up, on_frame, on_down, &a};
    const struct link_config config = {.loop = loop,
                                       .run = run,
                                       .service = "halo",
                                       .instance = "load",
                                       .epoch = clock_random_u64()};
    struct link *link = NULL;
    if (link_dial(&config, "supervisor", &handler, &link) != ERR_OK)
        return false;
    uint64_t end = clock_now_ms() + SUPERVISOR_MS;
    while (!a.is_over && clock_now_ms() < end && !loop_is_stopping(loop))
        loop_turn(loop, TURN_MS);
    link_close(link);
    return a.is_answered;
}
