/* SPDX-License-Identifier: MIT */
/* halo logs: the last lines of RUN/log/<name>.log, one file or all merged by time, and what is
 * appended from then on. Where systemd runs the stack, journalctl shows them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/units.h"
#include "services/halo/verbs.h"

enum {
    MAX_FILES = 256,
    TAIL_BYTES = 1 << 20, /* looked at for the last lines of a file */
    TIME_BYTES = 27, /* ts=2026-01-02T03:04:05.678Z */
};

struct options {
    const char *run;
    uint32_t n_lines;
    bool is_following;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_U32_ROW(struct options, n_lines, "lines", "50", 0, 100000, "N",
                "how many of the last lines"),
    OPT_BOOL_ROW(struct options, is_following, "follow", "false",
                 "go on with what is appended, until Ctrl-C"),
};

struct file {
    char name[64]; /* "engine.1" */
    int fd;
    ino_t inode;
    off_t at; /* read up to here */
    struct buf rest; /* a line that has not ended */
};

struct logs {
    char *dir;
    const char *only; /* NULL: all */
    struct file files[MAX_FILES];
    size_t n_files;
};

struct line {
    char *text;
    const char *time; /* into text of this line or of the last one before it that has a time */
    const struct file *file;
    size_t order;
};

/* ---- files ------------------------------------------------------------------------------------- */

/* "engine.1.log" is engine.1's; "engine.1.log.1" is an older one and nobody's. */
static bool name_of(const char *entry, char *name, size_t cap)
{
    size_t n = strlen(entry);
    if (n <= 4 || strcmp(entry + n - 4, ".log") != 0 || n - 4 >= cap)
        return false;
    memcpy(name, entry, n - 4);
    name[n - 4] = '\0';
    return true;
}

/* The file of that name, opened anew if it was replaced; NULL if it is not shown. */
static struct file *open_file(struct logs *l, const char *name)
{
    struct stat st;
    struct buf path = {0};
    struct file *f = NULL;
    if (l->only != NULL && strcmp(l->only, name) != 0)
        return NULL;
    for (size_t i = 0; i < l->n_files; i++) {
        if (strcmp(l->files[i].name, name) == 0)
            f = &l->files[i];
    }
    if (f == NULL && l->n_files < MAX_FILES) {
        f = &l->files[l->n_files++];
        *f = (struct file){.fd = -1};
        (void)snprintf(f->name, sizeof f->name, "%s", name);
    }
    buf_printf(&path, "%s/%s.log", l->dir, name);
    if (f != NULL && (f->fd < 0 || (stat(path.ptr, &st) == 0 && st.st_ino != f->inode))) {
        if (f->fd >= 0)
            (void)close(f->fd);
        f->fd = open(path.ptr, O_RDONLY | O_CLOEXEC);
        f->at = 0;
        f->inode = f->fd >= 0 && fstat(f->fd, &st) == 0 ? st.st_ino : 0;
    }
    buf_fini(&path);
    return f != NULL && f->fd >= 0 ? f : NULL;
}

static bool open_directory(struct logs *l)
{
    char name[sizeof l->files[0].name];
    DIR *d = opendir(l->dir);
    if (d == NULL)
        return false;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (name_of(e->d_name, name, sizeof name))
            (void)open_file(l, name);
    }
    (void)closedir(d);
    return true;
}

static void close_files(struct logs *l)
{
    for (size_t i = 0; i < l->n_files; i++) {
        if (l->files[i].fd >= 0)
            (void)close(l->files[i].fd);
        buf_fini(&l->files[i].rest);
    }
    free(l->dir);
}

/* ---- the last lines ---------------------------------------------------------------------------- */

static void print_line(const struct logs *l, const struct file *f, const char *text)
{
    if (l->only == NULL)
        (void)printf("%s%-11s%s ", print_color(COLOR_DIM), f->name, print_color(COLOR_OFF));
    (void)printf("%s\n", text);
}

struct lines {
    struct line *at;
    size_t n;
};

static void add_line(struct lines *all, const struct file *f, const char *text, size_t len,
                     const char *time)
{
    all->at = mem_resize(all->at, all->n + 1, sizeof *all->at);
    struct line *line = &all->at[all->n];
    *line = (struct line){mem_strndup(text, len), time, f, all->n};
    if (len >= TIME_BYTES && strncmp(text, "ts=", 3) == 0)
        line->time = line->text;
    all->n++;
}

/* The last n lines of f; the file is then read up to its end. */
static void collect(struct file *f, size_t n, struct lines *all)
{
    off_t end = lseek(f->fd, 0, SEEK_END);
    off_t from = end > TAIL_BYTES ? end - TAIL_BYTES : 0;
    char *text = mem_zalloc((size_t)(end - from) + 1, 1);
    ssize_t got = pread(f->fd, text, (size_t)(end - from), from);
    size_t len = got > 0 ? (size_t)got : 0;
    f->at = from + (off_t)len;
    size_t start = len;
    for (size_t found = 0; start > 0; start--) {
        if (text[start - 1] == '\n' && start < len && ++found == n)
            break;
    }
    const char *time = "";
    while (n > 0 && start < len) {
        const char *newline = memchr(text + start, '\n', len - start);
        if (newline == NULL)
            break;
        size_t end_of_line = (size_t)(newline - text);
        add_line(all, f, text + start, end_of_line - start, time);
        time = all->at[all->n - 1].time;
        start = end_of_line + 1;
    }
    if (start < len)
        buf_add(&f->rest, text + start, len - start);
    free(text);
}

static int by_time(const void *a, const void *b)
{
    const struct line *x = a;
    const struct line *y = b;
    int c = strncmp(x->time, y->time, TIME_BYTES);
    if (c != 0)
        return c;
    return x->order < y->order ? -1 : 1;
}

static void print_last(struct logs *l, size_t n)
{
    struct lines all = {NULL, 0};
    for (size_t i = 0; i < l->n_files; i++) {
        if (l->files[i].fd >= 0)
            collect(&l->files[i], n, &all);
    }
    if (all.n > 0)
        qsort(all.at, all.n, sizeof *all.at, by_time);
    for (size_t i = all.n > n ? all.n - n : 0; i < all.n; i++)
        print_line(l, all.at[i].file, all.at[i].text);
    for (size_t i = 0; i < all.n; i++)
        free(all.at[i].text);
    free(all.at);
}

/* ---- following --------------------------------------------------------------------------------- */

static void print_new(struct logs *l, struct file *f)
{
    char text[8192];
    ssize_t n;
    while ((n = pread(f->fd, text, sizeof text, f->at)) > 0) {
        f->at += n;
        buf_add(&f->rest, text, (size_t)n);
    }
    size_t start = 0;
    for (char *newline; start < f->rest.len; start = (size_t)(newline - f->rest.ptr) + 1) {
        newline = memchr(f->rest.ptr + start, '\n', f->rest.len - start);
        if (newline == NULL)
            break;
        *newline = '\0';
        print_line(l, f, f->rest.ptr + start);
    }
    buf_drop(&f->rest, start);
    (void)fflush(stdout);
}

static bool follow(struct logs *l)
{
    union {
        char bytes[16384];
        struct inotify_event align;
    } events;
    int fd = inotify_init1(IN_CLOEXEC);
    if (fd < 0 || inotify_add_watch(fd, l->dir, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
        return false;
    for (size_t i = 0; i < l->n_files; i++)
        print_new(l, &l->files[i]); /* what came before the watch */
    for (;;) {
        ssize_t n = read(fd, events.bytes, sizeof events.bytes);
        if (n <= 0)
            return false;
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e =
                (const struct inotify_event *)(const void *)(events.bytes + at);
            char name[sizeof l->files[0].name];
            struct file *f =
                e->len > 0 && name_of(e->name, name, sizeof name) ? open_file(l, name) : NULL;
            if (f != NULL)
                print_new(l, f);
            at += (ssize_t)(sizeof *e + e->len);
        }
    }
}

int verb_logs(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo logs",
        .summary = "Shows what a process (see `halo status`; also \"supervisor\") or all of them "
                   "printed.",
        .operands = "[PROCESS]",
        .example = "halo logs engine.1 --lines 100 --follow",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    if (argc - operands > 1) {
        (void)fprintf(stderr, "halo logs: one process at a time; see halo logs --help\n");
        return EXIT_BAD_USAGE;
    }
    struct buf dir = {0};
    const char *run = o.run != NULL ? o.run : stack_info_default_run();
    const char *only = operands < argc ? argv[operands] : NULL;
    char *systemd_url = units_url(run);
    free(systemd_url);
    if (systemd_url != NULL)
        return units_show_logs(only, o.n_lines, o.is_following);
    buf_printf(&dir, "%s/log", run);
    struct logs l = {.dir = buf_detach(&dir), .only = only};
    rc = EXIT_FAILURE;
    if (!open_directory(&l)) {
        (void)fprintf(stderr,
                      "halo logs: there are no logs in %s: %s; name the run directory with "
                      "--run\n",
                      l.dir, strerrordesc_np(errno));
    } else if (l.only != NULL && l.n_files == 0) {
        (void)fprintf(stderr, "halo logs: there is no log of %s in %s\n", l.only, l.dir);
    } else {
        print_last(&l, o.n_lines);
        (void)fflush(stdout);
        rc = !o.is_following || follow(&l) ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    close_files(&l);
    return rc;
}
