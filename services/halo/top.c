/* SPDX-License-Identifier: MIT */
/* halo top: a live picture of a stack: throughput, latencies, queue, KV cache, processes. */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/opt.h"
#include "services/halo/api.h"
#include "services/halo/control.h"
#include "services/halo/engine_list.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/top_sample.h"
#include "services/halo/verbs.h"

enum {
    HISTORY = 60, /* readings that the curve shows */
    WINDOW = 10, /* readings over which shares and latencies are taken */
    PROCESSES_MAX = 80,
    TIMEOUT_MS = 2000,
    BAR_CELLS = 30,
};

struct options {
    const char *run;
    uint32_t interval_ms;
    bool is_once;
    bool is_json;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_U32_ROW(struct options, interval_ms, "interval-ms", "1000", 100, 60000, "MS",
                "time between two readings"),
    OPT_BOOL_ROW(struct options, is_once, "once", "false",
                 "print one picture of one interval and exit; also what happens when stdout is no "
                 "terminal"),
    OPT_BOOL_ROW(struct options, is_json, "json", "false",
                 "print one JSON object of one interval and exit"),
};

struct process {
    char name[32];
    char state[16];
    uint32_t pid;
    uint32_t restarts;
    uint64_t since_ms;
    uint64_t ticks; /* of processor time so far */
    double cpu; /* share of a core since the last reading; -1: not known */
    uint64_t rss_bytes;
};

struct top {
    const struct options *options;
    const char *run;
    struct stack_info info;
    char *base;
    struct top_reading readings[HISTORY + 1]; /* oldest first */
    size_t n_readings;
    struct process processes[PROCESSES_MAX];
    size_t n_processes;
    uint64_t processes_at_ns;
    json_t *engines; /* of the router's table */
    char error[API_ERROR_CAP]; /* of the last reading; "" is none */
};

/* Fields of /proc/PID/stat after the name, see proc_pid_stat(5). */
enum { PROC_USER = 11, PROC_SYSTEM = 12, PROC_RSS_PAGES = 21, PROC_FIELDS = 22 };

/* ---- readings ---------------------------------------------------------------------------------- */

/* Processor time in ticks and resident bytes; false if the process is gone. */
static bool read_proc(uint32_t pid, uint64_t *ret_ticks, uint64_t *ret_rss)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof path, "/proc/%u/stat", pid);
    FILE *f = fopen(path, "re");
    size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL)
        (void)fclose(f);
    text[n] = '\0';
    const char *p = strrchr(text, ')'); /* the name before may hold anything */
    uint64_t fields[PROC_FIELDS] = {0};
    unsigned k = 0;
    for (p = p != NULL ? p + 2 : ""; *p != '\0' && k < PROC_FIELDS; k++) {
        fields[k] = strtoull(p, NULL, 10); /* the state, a letter, gives 0 */
        p += strcspn(p, " ");
        p += *p == ' ';
    }
    *ret_ticks = fields[PROC_USER] + fields[PROC_SYSTEM];
    *ret_rss = fields[PROC_RSS_PAGES] * (uint64_t)sysconf(_SC_PAGESIZE);
    return k == PROC_FIELDS;
}

static const struct process *find_process(const struct process *all, size_t n, uint32_t pid)
{
    for (size_t i = 0; i < n; i++) {
        if (all[i].pid == pid)
            return &all[i];
    }
    return NULL;
}

static void read_processes(struct top *t)
{
    static struct process before[PROCESSES_MAX];
    struct control_reply reply = {0};
    size_t n_before = t->n_processes;
    memcpy(before, t->processes, n_before * sizeof *before);
    uint64_t now = clock_now_ns();
    double s = (double)(now - t->processes_at_ns) * 1e-9;
    t->processes_at_ns = now;
    t->n_processes = 0;
    (void)control_ask(t->run, "status", "", TIMEOUT_MS, &reply);
    for (size_t i = 0; i < reply.n_children && i < PROCESSES_MAX; i++) {
        const struct rec_child *c = &reply.children[i];
        struct process *p = &t->processes[t->n_processes++];
        *p = (struct process){
            .pid = c->pid, .restarts = c->restarts, .since_ms = c->since_ms, .cpu = -1};
        (void)snprintf(p->name, sizeof p->name, "%s", c->name.ptr);
        (void)snprintf(p->state, sizeof p->state, "%s", c->state.ptr);
        const struct process *old = find_process(before, n_before, c->pid);
        if (c->pid > 0 && read_proc(c->pid, &p->ticks, &p->rss_bytes) && old != NULL && s > 0)
            p->cpu = (double)(p->ticks - old->ticks) / (double)sysconf(_SC_CLK_TCK) / s;
    }
    control_reply_fini(&reply);
}

static void read_all(struct top *t)
{
    struct api_answer a;
    api_get(t->base, "/metrics", TIMEOUT_MS, &a);
    t->error[0] = '\0';
    if (a.status == 200) {
        if (t->n_readings > HISTORY) {
            memmove(t->readings, t->readings + 1, HISTORY * sizeof t->readings[0]);
            t->n_readings = HISTORY;
        }
        top_read(buf_str(&a.body), clock_now_ns(), &t->readings[t->n_readings++]);
    } else if (a.status == 0) {
        (void)snprintf(t->error, sizeof t->error, "%.500s", a.error);
    } else {
        (void)snprintf(t->error, sizeof t->error, "/metrics answers %ld", a.status);
    }
    buf_fini(&a.body);
    read_processes(t);
    json_decref(t->engines);
    t->engines = engine_list_ask(t->run);
}

/* Rates of the last interval, with shares and latencies of the last WINDOW. */
static void settle(const struct top *t, struct top_rates *ret_rates)
{
    struct top_rates window;
    size_t last = t->n_readings - 1;
    size_t first = last > WINDOW ? last - WINDOW : 0;
    top_compare(&t->readings[first], &t->readings[last], &window);
    top_compare(&t->readings[last > 0 ? last - 1 : 0], &t->readings[last], ret_rates);
    ret_rates->prefix_share = window.prefix_share;
    ret_rates->draft_share = window.draft_share;
    ret_rates->ttft_p50 = window.ttft_p50;
    ret_rates->ttft_p99 = window.ttft_p99;
    ret_rates->itl_p50 = window.itl_p50;
    ret_rates->itl_p99 = window.itl_p99;
    memcpy(ret_rates->stage_p50, window.stage_p50, sizeof window.stage_p50);
    memcpy(ret_rates->stage_p95, window.stage_p95, sizeof window.stage_p95);
}

/* ---- the picture ------------------------------------------------------------------------------- */

static void add_ms(struct buf *out, const char *label, double s)
{
    if (s < 0)
        buf_printf(out, "  %s -", label);
    else
        buf_printf(out, "  %s %.*f ms", label, s < 0.01 ? 2 : 0, s * 1e3);
}

static void add_stage_ms(struct buf *out, double s)
{
    char text[16] = "-";
    if (s >= 0)
        (void)snprintf(text, sizeof text, "%.*f", s < 0.01 ? 3 : 0, s * 1e3);
    buf_printf(out, " %10s", text);
}

/* Where the time goes: a column for each stage. */
static void add_stages(const struct top_rates *r, struct buf *out)
{
    buf_printf(out, "\n\n%-10s", "STAGES ms");
    for (size_t i = 0; i < TOP_STAGES; i++)
        buf_printf(out, " %10s", top_stage_name((enum top_stage)i));
    buf_printf(out, "   decode, detokenize per token\n%-10s", "p50");
    for (size_t i = 0; i < TOP_STAGES; i++)
        add_stage_ms(out, r->stage_p50[i]);
    buf_printf(out, "\n%-10s", "p95");
    for (size_t i = 0; i < TOP_STAGES; i++)
        add_stage_ms(out, r->stage_p95[i]);
    buf_add_char(out, '\n');
}

static void add_share(struct buf *out, const char *label, double part)
{
    if (part < 0)
        buf_printf(out, "   %s -", label);
    else
        buf_printf(out, "   %s %.0f %%", label, part * 100);
}

/* Tokens a second of the readings so far, a cell each. */
static void add_curve(const struct top *t, struct buf *out)
{
    static const char *const CELLS[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double values[HISTORY];
    double most = 1;
    size_t n = 0;
    for (size_t i = 1; i < t->n_readings; i++) {
        struct top_rates r;
        top_compare(&t->readings[i - 1], &t->readings[i], &r);
        values[n++] = r.generated;
        most = r.generated > most ? r.generated : most;
    }
    for (size_t i = 0; i < n; i++)
        buf_add_cstr(out, CELLS[(size_t)(values[i] / most * 8 + 0.5)]);
}

static void add_bar(double part, struct buf *out)
{
    size_t full = (size_t)(part * BAR_CELLS + 0.5);
    for (size_t i = 0; i < BAR_CELLS; i++)
        buf_add_cstr(out, i < full ? "█" : "░");
    buf_printf(out, " %.0f %%", part * 100);
}

static void add_processes(const struct top *t, struct buf *out)
{
    uint64_t now_ms = clock_unix_ms();
    buf_printf(out, "\n%-12s %-9s %8s %6s %10s %9s  %s\n", "PROCESS", "STATE", "PID", "CPU",
               "MEMORY", "RESTARTS", "SINCE");
    for (size_t i = 0; i < t->n_processes; i++) {
        const struct process *p = &t->processes[i];
        char since[32];
        char cpu[16] = "-";
        print_duration((now_ms > p->since_ms ? now_ms - p->since_ms : 0) / 1000, since,
                       sizeof since);
        if (p->cpu >= 0)
            (void)snprintf(cpu, sizeof cpu, "%.0f %%", p->cpu * 100);
        buf_printf(out, "%-12s %s%-9s%s %8u %6s %7.1f MB %9u  %s\n", p->name,
                   print_color(strcmp(p->state, "ready") == 0 ? COLOR_GOOD : COLOR_BAD), p->state,
                   print_color(COLOR_OFF), p->pid, cpu, (double)p->rss_bytes * 1e-6, p->restarts,
                   since);
    }
}

static void draw(const struct top *t, struct buf *out)
{
    const char *slash = strrchr(t->info.model, '/');
    buf_printf(out, "halo top   %s   %s\n\n", t->base, slash != NULL ? slash + 1 : t->info.model);
    if (t->error[0] != '\0')
        buf_printf(out, "%s%s%s\n", print_color(COLOR_BAD), t->error, print_color(COLOR_OFF));
    if (t->n_readings > 0) {
        const struct top_reading *now = &t->readings[t->n_readings - 1];
        struct top_rates r;
        settle(t, &r);
        buf_printf(out, "replies    %8.1f tokens/s   ", r.generated);
        add_curve(t, out);
        buf_printf(out, "\nprompts    %8.1f tokens/s", r.prompts);
        add_share(out, "from the prefix cache", r.prefix_share);
        add_share(out, "drafts accepted", r.draft_share);
        buf_printf(out,
                   "\nrequests   %8.1f ended/s   in flight %.0f   running %.0f   waiting %.0f   "
                   "refused %.1f/s   cut %.1f/s\n",
                   r.finished, now->in_flight, now->running, now->waiting, r.refused, r.cut);
        buf_add_cstr(out, "first token");
        add_ms(out, "p50", r.ttft_p50);
        add_ms(out, "p99", r.ttft_p99);
        buf_add_cstr(out, "      next token");
        add_ms(out, "p50", r.itl_p50);
        add_ms(out, "p99", r.itl_p99);
        buf_add_cstr(out, "\nKV cache   ");
        add_bar(now->kv_share, out);
        buf_printf(out, "   engines %.0f", now->engines);
        add_stages(&r, out);
    }
    add_processes(t, out);
    engine_list_add_remote(t->engines, out);
}

static json_t *number(double v)
{
    return v < 0 ? json_null() : json_real(v);
}

static void print_json(const struct top *t)
{
    const struct top_reading *now = &t->readings[t->n_readings - 1];
    struct top_rates r;
    settle(t, &r);
    json_t *processes = json_array();
    for (size_t i = 0; i < t->n_processes; i++) {
        const struct process *p = &t->processes[i];
        (void)json_array_append_new(processes,
                                    json_pack("{s:s, s:s, s:I, s:o, s:I, s:I}", "name", p->name,
                                              "state", p->state, "pid", (json_int_t)p->pid, "cpu",
                                              number(p->cpu), "rss_bytes", (json_int_t)p->rss_bytes,
                                              "restarts", (json_int_t)p->restarts));
    }
    json_t *o = json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "url", t->base,
                          "tokens_per_s", r.generated, "prompt_tokens_per_s", r.prompts,
                          "requests_per_s", r.finished, "refused_per_s", r.refused, "cut_per_s",
                          r.cut, "in_flight", now->in_flight, "running", now->running, "waiting",
                          now->waiting, "kv_share", now->kv_share, "engines", now->engines);
    ASSERT(o != NULL);
    (void)json_object_set_new(o, "prefix_share", number(r.prefix_share));
    (void)json_object_set_new(o, "draft_share", number(r.draft_share));
    (void)json_object_set_new(o, "ttft_p50_s", number(r.ttft_p50));
    (void)json_object_set_new(o, "ttft_p99_s", number(r.ttft_p99));
    (void)json_object_set_new(o, "itl_p50_s", number(r.itl_p50));
    (void)json_object_set_new(o, "itl_p99_s", number(r.itl_p99));
    json_t *stages = json_object();
    for (size_t i = 0; i < TOP_STAGES; i++)
        (void)json_object_set_new(stages, top_stage_name((enum top_stage)i),
                                  json_pack("{s:o, s:o}", "p50_s", number(r.stage_p50[i]), "p95_s",
                                            number(r.stage_p95[i])));
    (void)json_object_set_new(o, "stages", stages);
    (void)json_object_set_new(o, "processes", processes);
    (void)json_object_set(o, "engine_list", t->engines);
    (void)json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(8));
    (void)printf("\n");
    json_decref(o);
}

/* ---- the terminal ------------------------------------------------------------------------------ */

/* Waits until it is time for the next reading; false when the user wants to stop. */
static bool wait_next(int signals, bool has_keys, uint64_t until_ms)
{
    struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                           {.fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN}};
    for (;;) {
        uint64_t now = clock_now_ms();
        if (now >= until_ms)
            return true;
        int n = poll(fds, 2, (int)(until_ms - now));
        char key = 0;
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0 && fds[0].revents != 0)
            return false;
        if (n > 0 && fds[1].revents != 0 &&
            (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q'))
            return false;
    }
}

static void show_frame(const struct top *t)
{
    struct buf picture = {0};
    draw(t, &picture);
    (void)printf("\033[H"); /* home; each line erases what was right of it */
    for (const char *p = picture.ptr; *p != '\0'; p++) {
        if (*p == '\n')
            (void)fputs("\033[K", stdout);
        (void)putchar(*p);
    }
    (void)printf("\nq ends\033[K\033[J");
    (void)fflush(stdout);
    buf_fini(&picture);
}

static void run_screen(struct top *t, int signals)
{
    struct termios before;
    bool has_keys = tcgetattr(STDIN_FILENO, &before) == 0;
    if (has_keys) {
        struct termios raw = before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    (void)printf("\033[?1049h\033[?25l"); /* another screen, no cursor */
    uint64_t due = clock_now_ms();
    do {
        read_all(t);
        show_frame(t);
        due += t->options->interval_ms;
    } while (wait_next(signals, has_keys, due));
    (void)printf("\033[?25h\033[?1049l");
    (void)fflush(stdout);
    if (has_keys)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static int run_once(struct top *t, int signals)
{
    read_all(t);
    uint64_t due = clock_now_ms() + t->options->interval_ms;
    if (t->n_readings == 0 || !wait_next(signals, false, due)) {
        (void)fprintf(stderr, "halo top: %s: %s\n", t->base,
                      t->error[0] != '\0' ? t->error : "interrupted");
        return EXIT_FAILURE;
    }
    read_all(t);
    if (t->options->is_json) {
        print_json(t);
    } else {
        struct buf picture = {0};
        draw(t, &picture);
        (void)fputs(buf_str(&picture).ptr, stdout);
        buf_fini(&picture);
    }
    return t->error[0] == '\0' ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SIGINT and SIGTERM end the picture, so that the terminal is left as it was. */
static int open_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

int verb_top(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {.name = "halo top",
                                  .summary = "Shows a stack at work: throughput, latencies, queue, "
                                             "KV cache and processes, until q or Ctrl-C.",
                                  .example = "halo top --once",
                                  .opts = OPTS,
                                  .n_opts = ARRAY_LEN(OPTS),
                                  .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    static struct top t;
    t.options = &o;
    t.run = o.run != NULL ? o.run : stack_info_default_run();
    stack_info_read(t.run, &t.info);
    rc = EXIT_FAILURE;
    if (t.info.pid == 0 || t.info.url[0] == '\0') {
        stack_info_say_none(t.run);
    } else {
        api_init();
        int signals = open_signals();
        t.base = api_base(t.info.url);
        rc = EXIT_SUCCESS;
        if (o.is_once || o.is_json || isatty(STDOUT_FILENO) == 0)
            rc = run_once(&t, signals);
        else
            run_screen(&t, signals);
        free(t.base);
        (void)close(signals);
        api_fini();
    }
    json_decref(t.engines);
    stack_info_fini(&t.info);
    return rc;
}
