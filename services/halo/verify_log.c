/* SPDX-License-Identifier: MIT */
#include "services/halo/verify_log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "common/mem.h"

enum { FILES_MAX = 1000 };

static char *name_of(const char *path, unsigned n)
{
    struct buf b = {0};
    buf_add_cstr(&b, path);
    if (n > 0)
        buf_printf(&b, ".%u", n);
    return buf_detach(&b);
}

static bool is_entry(const json_t *o)
{
    return json_is_object(json_object_get(o, "halo")) &&
           json_is_string(json_object_get(o, "request"));
}

/* Reads as far as `f` reaches now. False: `each` has had enough. */
static bool read_lines(FILE *f, off_t length, bool (*each)(void *ctx, const json_t *entry),
                       void *ctx)
{
    char *line = NULL;
    size_t cap = 0;
    bool goes_on = true;
    off_t at = 0;
    for (ssize_t n; goes_on && at < length && (n = getline(&line, &cap, f)) > 0; at += n) {
        json_t *o = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        goes_on = each(ctx, is_entry(o) ? o : NULL);
        json_decref(o);
    }
    free(line);
    return goes_on;
}

struct opened {
    FILE *file;
    off_t length;
};

static bool open_file(struct opened *o, const char *path, unsigned n)
{
    char *name = name_of(path, n);
    struct stat st;
    o->file = fopen(name, "re");
    free(name);
    if (o->file == NULL || fstat(fileno(o->file), &st) != 0)
        return false;
    o->length = st.st_size;
    return true;
}

bool verify_log_read(const char *path, bool (*each)(void *ctx, const json_t *entry), void *ctx,
                     char *why, size_t cap)
{
    /* All are opened at once, because the gateway may rename them, and read as far as they reach now,
     * because what `each` asks for is logged, too. */
    struct opened *files = mem_zalloc(FILES_MAX, sizeof *files);
    unsigned n = 0;
    bool ok = open_file(&files[0], path, 0);
    bool goes_on = ok;
    if (!ok)
        (void)snprintf(why, cap, "%s: %s", path, strerrordesc_np(errno));
    while (ok && ++n < FILES_MAX && open_file(&files[n], path, n)) {
    }
    while (goes_on && n-- > 0)
        goes_on = read_lines(files[n].file, files[n].length, each, ctx);
    for (n = 0; n < FILES_MAX; n++) {
        if (files[n].file != NULL)
            (void)fclose(files[n].file);
    }
    free(files);
    return ok;
}

/* ---- receipts ---------------------------------------------------------------------------------- */

static json_t *receipt_in(json_t *o)
{
    json_t *inner = json_object_get(o, "halo");
    if (json_is_object(inner))
        return json_incref(inner);
    return json_is_string(json_object_get(o, "model_hash")) ? json_incref(o) : NULL;
}

/* In the events of a stream. */
static json_t *receipt_in_events(const char *text)
{
    static const char DATA[] = "data: ";
    json_t *found = NULL;
    for (const char *line = text; line != NULL && found == NULL;) {
        const char *end = strchr(line, '\n');
        size_t len = end != NULL ? (size_t)(end - line) : strlen(line);
        if (len > sizeof DATA - 1 && strncmp(line, DATA, sizeof DATA - 1) == 0) {
            json_t *o =
                json_loadb(line + sizeof DATA - 1, len - (sizeof DATA - 1), JSON_ALLOW_NUL, NULL);
            found = receipt_in(o);
            json_decref(o);
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return found;
}

json_t *verify_log_find_receipt(const char *text)
{
    json_t *o = json_loads(text, JSON_ALLOW_NUL, NULL);
    json_t *found = o != NULL ? receipt_in(o) : receipt_in_events(text);
    json_decref(o);
    return found;
}
