/* SPDX-License-Identifier: MIT */
#include "services/load/footprint.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/paths.h"

enum {
    STARTS = 3, /* the best counts: what else a machine does only makes a start longer */
    IDLE_MS = 3000,
    TURN_MS = 50,
};

static const double GOAL_START_MS = 300;
static const double GOAL_MEMORY_MB = 60;
static const double GOAL_IDLE_PERCENT = 1;
static const double GOAL_GATEWAY_MB = 2;

struct footprint {
    double start_ms;
    double memory_mb;
    double idle_percent;
    double gateway_mb;
};

/* ---- the program's size ------------------------------------------------------------------------ */

static bool read_at(FILE *f, uint64_t at, void *ret, size_t n)
{
    return fseeko(f, (off_t)at, SEEK_SET) == 0 && fread(ret, 1, n, f) == n;
}

static bool is_debugger_s(const char *name)
{
    return strncmp(name, ".debug", 6) == 0 || strcmp(name, ".symtab") == 0 ||
           strcmp(name, ".strtab") == 0 || strncmp(name, ".gnu_debug", 10) == 0;
}

static bool sum_sections(FILE *f, uint64_t *ret_taken)
{
    Elf64_Ehdr head;
    Elf64_Shdr names;
    if (!read_at(f, 0, &head, sizeof head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
        head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_shentsize != sizeof names ||
        !read_at(f, head.e_shoff + (uint64_t)head.e_shstrndx * sizeof names, &names, sizeof names))
        return false;
    for (uint64_t i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr s;
        char name[32] = "";
        if (!read_at(f, head.e_shoff + i * sizeof s, &s, sizeof s))
            return false;
        (void)read_at(f, names.sh_offset + s.sh_name, name, sizeof name - 1);
        if (s.sh_type != SHT_NOBITS && is_debugger_s(name))
            *ret_taken += s.sh_size;
    }
    return true;
}

bool footprint_stripped(const char *path, uint64_t *ret_bytes)
{
    struct stat st;
    uint64_t taken = 0;
    FILE *f = fopen(path, "re");
    bool ok = f != NULL && stat(path, &st) == 0 && sum_sections(f, &taken) &&
              taken < (uint64_t)st.st_size;
    if (ok)
        *ret_bytes = (uint64_t)st.st_size - taken;
    if (f != NULL)
        (void)fclose(f);
    return ok;
}

static bool measure_gateway(const struct options *o, struct footprint *fp)
{
    uint64_t bytes = 0;
    char *path = paths_find_binary(o->bin, "halo-gateway");
    bool ok = path != NULL && footprint_stripped(path, &bytes);
    if (!ok)
        (void)fprintf(stderr, "halo-load: halo-gateway is not found, or no ELF file\n");
    fp->gateway_mb = (double)bytes / 1e6;
    free(path);
    return ok;
}

/* ---- the stack --------------------------------------------------------------------------------- */

/* One request; the time from `since_ns` to its first token. */
static bool ask(struct measure *m, const struct options *o, struct stage_world *w,
                uint64_t since_ns, double *ret_ms)
{
    struct stats *s = stats_new();
    uint64_t now = clock_now_ns();
    bool ok = measure_closed(m, o, w->vocab, o->seed, 1, 1, 4, w->target, s) &&
              stats_n_failed(s) == 0 && !m->is_interrupted;
    *ret_ms = (double)(now - since_ns) / 1e6 + (double)hist_quantile(&s->ttft, 0.5) / 1e6;
    stats_free(s);
    return ok;
}

static bool measure_start(struct measure *m, const struct options *o, double *ret_ms)
{
    struct stage_world w;
    uint64_t began = clock_now_ns();
    bool ok = stage_open_supervised(&w, m->loop, o) && ask(m, o, &w, began, ret_ms);
    stage_close(&w);
    return ok;
}

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static bool measure_idle(struct measure *m, const struct options *o, struct footprint *fp)
{
    struct stage_world w;
    double unused;
    bool ok = stage_open_supervised(&w, m->loop, o) &&
              processes_add_stack(&w.processes, m->loop, w.children.run) &&
              ask(m, o, &w, clock_now_ns(), &unused);
    if (ok) {
        uint64_t began = clock_now_ns();
        processes_begin(&w.processes);
        while (!m->is_interrupted && clock_now_ns() - began < IDLE_MS * UINT64_C(1000000))
            loop_turn(m->loop, TURN_MS);
        processes_end(&w.processes);
        double ns = (double)(clock_now_ns() - began);
        double used_ns = 0;
        double bytes = -(double)file_bytes(w.model_file);
        for (size_t i = 0; i < w.processes.n; i++) {
            used_ns += (double)w.processes.list[i].used_ns;
            bytes += (double)w.processes.list[i].memory_bytes;
        }
        fp->idle_percent = used_ns / ns * 100;
        fp->memory_mb = bytes / 1e6;
        ok = !m->is_interrupted;
    }
    stage_close(&w);
    return ok;
}

/* ---- telling ----------------------------------------------------------------------------------- */

static bool print_goal(const char *what, double value, const char *unit, double goal)
{
    (void)printf("%-52s %8.2f %-3s (goal: less than %g %s): %s\n", what, value, unit, goal, unit,
                 value < goal ? "kept" : "missed");
    return value < goal;
}

static bool print_all(const struct footprint *fp)
{
    bool ok = print_goal("cold start of all processes to the first token", fp->start_ms, "ms",
                         GOAL_START_MS);
    ok &= print_goal("resident memory of all beyond the model file", fp->memory_mb, "MB",
                     GOAL_MEMORY_MB);
    ok &= print_goal("processor time of all while idle, of a core", fp->idle_percent, "%",
                     GOAL_IDLE_PERCENT);
    ok &= print_goal("halo-gateway without symbols", fp->gateway_mb, "MB", GOAL_GATEWAY_MB);
    return ok;
}

static bool write_json(const char *path, const struct footprint *fp)
{
    json_t *root =
        json_pack("{s:f, s:f, s:f, s:f}", "start_ms", fp->start_ms, "memory_mb", fp->memory_mb,
                  "idle_percent", fp->idle_percent, "gateway_mb", fp->gateway_mb);
    bool ok = json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0;
    if (!ok)
        (void)fprintf(stderr, "halo-load: cannot write %s: %s\n", path, strerrordesc_np(errno));
    json_decref(root);
    return ok;
}

int footprint_run(struct measure *m, const struct options *o)
{
    struct footprint fp = {0};
    bool ok = measure_gateway(o, &fp) && measure_idle(m, o, &fp);
    for (int i = 0; i < STARTS && ok; i++) {
        double ms = 0;
        ok = measure_start(m, o, &ms);
        fp.start_ms = i == 0 || ms < fp.start_ms ? ms : fp.start_ms;
    }
    if (ok && o->json != NULL)
        ok = write_json(o->json, &fp);
    return ok && print_all(&fp) ? EXIT_SUCCESS : EXIT_FAILURE;
}
