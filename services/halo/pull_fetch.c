/* SPDX-License-Identifier: MIT */
#include "services/halo/pull_fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "services/halo/pull_part.h"
#include "services/halo/pull_progress.h"

enum {
    CONNECT_TIMEOUT_S = 20,
    STALL_S = 30, /* without a byte: the connection is given up */
    FIRST_WAIT_MS = 500,
    LONGEST_WAIT_MS = 30000,
    MAX_TRIES = 1000, /* of one file, however little each brings */
    MAX_OTHER_BYTES = 2,
    TICK_MS = 250,
    HTTP_OK = 200,
    HTTP_PARTIAL = 206,
    HTTP_BAD_RANGE = 416,
};

enum state { WAITING, RUNNING, DONE };

struct transfer {
    struct pull_file *file;
    struct part part;
    bool is_open;
    enum state state;
    CURL *easy;
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
    char etag[PART_ETAG_CAP]; /* of the answer at hand */
    uint64_t range_from; /* where it says that it begins; UINT64_MAX: it does not say */
    bool has_body; /* its first byte has been looked at */
    bool is_other; /* it cannot be what was asked for */
    uint64_t at_start; /* of this try */
    uint64_t retry_at_ms;
    uint32_t n_tries;
    uint32_t n_fruitless; /* tries in a row that brought no byte */
    uint32_t n_other; /* times that the bytes were wrong */
};

struct fetch {
    const struct pull_source *source;
    const struct pull_options *options;
    struct transfer *transfers;
    size_t n;
    CURLM *multi;
    size_t n_running;
    size_t n_done;
    struct progress progress;
    char *why;
    bool has_failed;
};

__attribute__((format(printf, 2, 3))) static void fail(struct fetch *f, const char *fmt, ...)
{
    if (f->has_failed)
        return;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(f->why, PULL_WHY_CAP, fmt, ap);
    va_end(ap);
    f->has_failed = true;
}

static void fail_on_disk(struct fetch *f, const struct transfer *t)
{
    const char *path = t->file->path;
    if (t->part.error == EWOULDBLOCK)
        fail(f, "%s: another halo pull is fetching it into %s", path, f->options->dir);
    else if (t->part.error == ENOSPC || t->part.error == EDQUOT)
        fail(f,
             "%s: the disk of %s is full; make room and run the same command again, what came is "
             "kept",
             path, f->options->dir);
    else
        fail(f, "%s: cannot write in %s: %s", path, f->options->dir,
             strerrordesc_np(t->part.error));
}

/* ---- one answer --------------------------------------------------------------------------------- */

static bool has_name(const char *line, size_t n, const char *name, struct str *ret_value)
{
    size_t len = strlen(name);
    if (n <= len || strncasecmp(line, name, len) != 0)
        return false;
    const char *from = line + len;
    const char *to = line + n;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == '\r' || to[-1] == '\n' || to[-1] == ' '))
        to--;
    *ret_value = (struct str){from, (size_t)(to - from)};
    return true;
}

static size_t on_header(char *line, size_t one, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    struct str v;
    (void)one;
    if (n > 5 && strncasecmp(line, "HTTP/", 5) == 0) { /* a new answer, behind a redirect maybe */
        t->etag[0] = '\0';
        t->range_from = UINT64_MAX;
    } else if (has_name(line, n, "etag:", &v) && v.len < sizeof t->etag) {
        (void)snprintf(t->etag, sizeof t->etag, "%.*s", (int)v.len, v.ptr);
    } else if (has_name(line, n, "content-range: bytes ", &v)) {
        t->range_from = strtoull(v.ptr, NULL, 10); /* the line ends in \r */
    } else if (has_name(line, n, "x-linked-etag: \"", &v) && v.len == 65 &&
               t->file->kind == PULL_HASH_NONE) { /* the hub tells a large file's SHA-256 */
        (void)snprintf(t->file->hash, sizeof t->file->hash, "%.64s", v.ptr);
        if (strspn(t->file->hash, "0123456789abcdef") == 64)
            t->file->kind = PULL_HASH_SHA256;
    }
    return n;
}

/* Looks at the head of the answer before its first byte is kept. */
static bool begin_body(struct transfer *t, long status)
{
    t->has_body = true;
    if (status == HTTP_PARTIAL && t->range_from != t->part.at) {
        t->is_other = true;
        return false;
    }
    if (status == HTTP_OK && t->part.at > 0 && !part_restart(&t->part))
        return false;
    if (status == HTTP_OK)
        t->at_start = 0;
    return part_set_etag(&t->part, t->etag);
}

static size_t on_body(char *bytes, size_t one, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    long status = 0;
    (void)one;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != HTTP_OK && status != HTTP_PARTIAL)
        return n; /* the text of an error */
    if (!t->has_body && !begin_body(t, status))
        return 0;
    if (t->file->has_size && t->part.at + n > t->file->size) {
        t->is_other = true;
        return 0;
    }
    return part_append(&t->part, bytes, n) ? n : 0;
}

static curl_off_t expected_size(const struct transfer *t)
{
    curl_off_t n = -1;
    (void)curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &n);
    return n;
}

static void add_header(struct transfer *t, const char *name, const char *value)
{
    struct buf line = {0};
    buf_printf(&line, "%s%s", name, value);
    t->headers = curl_slist_append(t->headers, line.ptr);
    buf_fini(&line);
}

static void set_headers(const struct fetch *f, struct transfer *t)
{
    char *auth = pull_source_auth(f->source, t->file->url);
    if (auth != NULL)
        t->headers = curl_slist_append(t->headers, auth);
    if (t->part.at > 0) {
        char range[48];
        (void)snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)t->part.at);
        add_header(t, "Range: ", range);
        add_header(t, "If-Range: ", t->part.etag);
    }
    free(auth);
}

static void start_request(struct fetch *f, struct transfer *t)
{
    bool is_https = strncasecmp(t->file->url, "https://", 8) == 0;
    CURL *c = curl_easy_init();
    ASSERT(c != NULL);
    t->easy = c;
    t->headers = NULL;
    t->error[0] = '\0';
    t->has_body = false;
    t->is_other = false;
    t->at_start = t->part.at;
    t->n_tries++;
    set_headers(f, t);
    (void)curl_easy_setopt(c, CURLOPT_URL, t->file->url);
    (void)curl_easy_setopt(c, CURLOPT_PRIVATE, t);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, is_https ? "https" : "http,https");
    (void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L); /* drops the token at another host */
    (void)curl_easy_setopt(c, CURLOPT_MAXREDIRS, 10L);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->error);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_USERAGENT, "halo");
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    ASSERT(curl_multi_add_handle(f->multi, c) == CURLM_OK);
    t->state = RUNNING;
    f->n_running++;
}

/* ---- the life of a transfer --------------------------------------------------------------------- */

static void end_transfer(struct fetch *f, struct transfer *t)
{
    t->state = DONE;
    f->n_done++;
    progress_file(&f->progress, t->file->path);
}

static void retry(struct fetch *f, struct transfer *t, uint64_t after_ms, const char *what)
{
    t->n_fruitless = t->part.at > t->at_start ? 0 : t->n_fruitless + 1;
    if (t->n_fruitless > f->options->n_retries || t->n_tries >= MAX_TRIES) {
        fail(f, "%s: gave up after %u tries: %s; run the same command again to go on",
             t->file->path, t->n_tries, what);
        return;
    }
    uint64_t wait = t->n_fruitless > 0 ? (uint64_t)FIRST_WAIT_MS << (t->n_fruitless - 1) : 0;
    wait = t->n_fruitless > 8 || wait > LONGEST_WAIT_MS ? LONGEST_WAIT_MS : wait;
    wait = after_ms > wait ? after_ms : wait;
    t->retry_at_ms = clock_now_ms() + wait;
    t->state = WAITING;
    progress_note(&f->progress, "%s: %s; next try in %.1f s", t->file->path, what,
                  (double)wait / 1e3);
}

static void check_bytes(struct fetch *f, struct transfer *t)
{
    enum part_end end = part_finish(&t->part);
    if (end == PART_GOOD) {
        end_transfer(f, t);
    } else if (end == PART_FAILED) {
        fail_on_disk(f, t);
    } else if (++t->n_other < MAX_OTHER_BYTES) {
        t->at_start = 0;
        retry(f, t, 0, "the bytes are not those of the listing");
    } else {
        fail(
            f,
            "%s: the bytes are not those that %s announces, twice; they have been removed. Run the "
            "same command again later, or name another revision (@REVISION)",
            t->file->path, f->source->repo[0] != '\0' ? f->source->hub : "the server");
    }
}

static void refuse_status(struct fetch *f, const struct transfer *t, long status)
{
    if (status == 401)
        fail(f, "%s: the server wants a token (HTTP 401): put one into HF_TOKEN%s", t->file->path,
             f->source->token != NULL ? "; the one there is not accepted" : "");
    else if (status == 403)
        fail(f,
             "%s: the server refuses it (HTTP 403): accept the model's terms on its page, and put "
             "a token of that account into HF_TOKEN",
             t->file->path);
    else if (status == 404 || status == 410)
        fail(f, "%s: there is no such file (HTTP %ld): %s", t->file->path, status, t->file->url);
    else
        fail(f, "%s: HTTP status %ld from %s", t->file->path, status, t->file->url);
}

static void on_answer(struct fetch *f, struct transfer *t, long status, uint64_t after_ms)
{
    char what[64];
    (void)snprintf(what, sizeof what, "HTTP status %ld", status);
    if (status == HTTP_OK || status == HTTP_PARTIAL) {
        bool is_empty = status == HTTP_OK && !t->has_body;
        if (is_empty && !part_restart(&t->part))
            fail_on_disk(f, t);
        else
            check_bytes(f, t);
    } else if (status == HTTP_BAD_RANGE && t->part.at > 0) {
        t->at_start = 0;
        if (part_restart(&t->part))
            retry(f, t, 0, what);
        else
            fail_on_disk(f, t);
    } else if (status == 408 || status == 425 || status == 429 || status >= 500) {
        retry(f, t, after_ms, what);
    } else {
        refuse_status(f, t, status);
    }
}

static bool is_hopeless(CURLcode rc)
{
    return rc == CURLE_UNSUPPORTED_PROTOCOL || rc == CURLE_URL_MALFORMAT ||
           rc == CURLE_TOO_MANY_REDIRECTS || rc == CURLE_PEER_FAILED_VERIFICATION ||
           rc == CURLE_SSL_CACERT_BADFILE;
}

static void on_end(struct fetch *f, struct transfer *t, CURLcode rc)
{
    long status = 0;
    curl_off_t after_s = 0;
    (void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after_s);
    (void)curl_multi_remove_handle(f->multi, t->easy);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    t->easy = NULL;
    f->n_running--;
    uint64_t after_ms = after_s > 0 ? (uint64_t)after_s * 1000 : 0;
    if (after_ms > LONGEST_WAIT_MS)
        after_ms = LONGEST_WAIT_MS;
    const char *what = t->error[0] != '\0' ? t->error : curl_easy_strerror(rc);
    if (t->part.error != 0)
        fail_on_disk(f, t);
    else if (t->is_other) {
        if (part_restart(&t->part))
            check_bytes(f, t);
        else
            fail_on_disk(f, t);
    } else if (rc == CURLE_OK)
        on_answer(f, t, status, after_ms);
    else if (is_hopeless(rc))
        fail(f, "%s: %s", t->file->path, what);
    else
        retry(f, t, 0, what);
}

static void start_transfer(struct fetch *f, struct transfer *t)
{
    if (!t->is_open) {
        t->is_open = true;
        if (part_is_done(f->options->dir, t->file)) {
            t->part.at = t->file->size;
            end_transfer(f, t);
            return;
        }
        if (!part_open(&t->part, f->options->dir, t->file)) {
            fail_on_disk(f, t);
            return;
        }
        t->at_start = t->part.at;
        progress_skip(&f->progress, t->part.at);
    }
    if (t->file->has_size && t->part.at == t->file->size && t->part.at > 0)
        check_bytes(f, t); /* the last run came that far */
    else
        start_request(f, t);
}

/* ---- all of them -------------------------------------------------------------------------------- */

static void start_due(struct fetch *f)
{
    uint64_t now = clock_now_ms();
    for (size_t i = 0; i < f->n && !f->has_failed && f->n_running < f->options->n_jobs; i++) {
        struct transfer *t = &f->transfers[i];
        if (t->state == WAITING && t->retry_at_ms <= now)
            start_transfer(f, t);
    }
}

static void read_ends(struct fetch *f)
{
    int left;
    for (const CURLMsg *m; (m = curl_multi_info_read(f->multi, &left)) != NULL;) {
        char *t = NULL;
        CURLcode rc = m->data.result;
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        on_end(f, (struct transfer *)(void *)t, rc);
    }
}

static uint64_t bytes_here(const struct fetch *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += f->transfers[i].part.at;
    return n;
}

/* Of the files whose size nobody has told yet, what their servers say. */
static uint64_t bytes_in_all(const struct fetch *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct transfer *t = &f->transfers[i];
        curl_off_t rest = t->state == RUNNING && !t->file->has_size ? expected_size(t) : 0;
        n += t->file->has_size ? t->file->size
             : rest > 0        ? t->at_start + (uint64_t)rest
                               : t->part.at;
    }
    return n;
}

static void run(struct fetch *f)
{
    while (!f->has_failed && f->n_done < f->n) {
        int n_running;
        start_due(f);
        (void)curl_multi_perform(f->multi, &n_running);
        read_ends(f);
        progress_show(&f->progress, bytes_here(f), bytes_in_all(f));
        if (!f->has_failed && f->n_done < f->n)
            (void)curl_multi_poll(f->multi, NULL, 0, TICK_MS, NULL);
    }
}

static void close_transfer(struct fetch *f, struct transfer *t)
{
    if (t->easy != NULL) {
        (void)curl_multi_remove_handle(f->multi, t->easy);
        curl_easy_cleanup(t->easy);
        curl_slist_free_all(t->headers);
    }
    if (t->part.file != NULL)
        part_close(&t->part);
}

bool pull_fetch(const struct pull_source *s, struct pull_list *l, const struct pull_options *o,
                char *why)
{
    struct fetch f = {.source = s, .options = o, .n = l->n, .why = why};
    f.transfers = mem_zalloc(l->n, sizeof *f.transfers);
    f.multi = curl_multi_init();
    ASSERT(f.multi != NULL);
    for (size_t i = 0; i < l->n; i++) {
        f.transfers[i].file = &l->files[i];
        f.transfers[i].part.fd = -1;
    }
    progress_start(&f.progress);
    run(&f);
    progress_end(&f.progress);
    for (size_t i = 0; i < l->n; i++)
        close_transfer(&f, &f.transfers[i]);
    (void)curl_multi_cleanup(f.multi);
    free(f.transfers);
    return !f.has_failed;
}

uint64_t pull_bytes_missing(const struct pull_list *l, const char *dir)
{
    uint64_t missing = 0;
    for (size_t i = 0; i < l->n; i++) {
        static const char *const ENDS[] = {"", ".part"};
        uint64_t here = 0;
        for (size_t k = 0; k < ARRAY_LEN(ENDS); k++) {
            struct buf path = {0};
            struct stat st;
            buf_printf(&path, "%s/%s%s", dir, l->files[i].path, ENDS[k]);
            if (stat(path.ptr, &st) == 0 && (uint64_t)st.st_blocks * 512 > here)
                here = (uint64_t)st.st_blocks * 512;
            buf_fini(&path);
        }
        if (l->files[i].has_size && l->files[i].size > here)
            missing += l->files[i].size - here;
    }
    return missing;
}
