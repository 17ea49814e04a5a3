/* SPDX-License-Identifier: MIT */
#include "common/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

enum { LINE_CAP = 2048 };

static const char *service_name = "halo";
static atomic_int least_level = LOG_INFO;
static const char *const LEVELS[] = {"debug", "info", "warn", "error"};

struct line {
    char text[LINE_CAP];
    size_t len;
};

void log_init(const char *service, enum log_level least)
{
    service_name = service;
    atomic_store(&least_level, (int)least);
}

const char *log_service(void)
{
    return service_name;
}

bool log_level_from(const char *name, enum log_level *ret_level)
{
    for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
        if (strcmp(name, LEVELS[i]) == 0) {
            *ret_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void put(struct line *l, const char *s, size_t n)
{
    size_t room = sizeof l->text - 1 - l->len; /* one byte stays for the newline */
    if (n > room)
        n = room;
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

static void put_cstr(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

static bool is_plain(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f)
            return false;
    }
    return n > 0;
}

static void put_value(struct line *l, const char *s, size_t n)
{
    if (is_plain(s, n)) {
        put(l, s, n);
        return;
    }
    put(l, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            put(l, "\\", 1);
            put(l, s + i, 1);
        } else if (c < 0x20 || c == 0x7f) {
            char esc[5];
            int k = snprintf(esc, sizeof esc, "\\x%02x", c);
            put(l, esc, (size_t)k);
        } else {
            put(l, s + i, 1);
        }
    }
    put(l, "\"", 1);
}

static void put_field(struct line *l, const struct log_field *f)
{
    char num[32];
    int n = 0;
    put(l, " ", 1);
    put_cstr(l, f->key);
    put(l, "=", 1);
    switch (f->type) {
    case LOG_T_STR:
        put_value(l, f->v.s != NULL ? f->v.s : "", f->v.s != NULL ? strlen(f->v.s) : 0);
        return;
    case LOG_T_STRN:
        put_value(l, f->v.s, f->len);
        return;
    case LOG_T_I64:
        n = snprintf(num, sizeof num, "%" PRId64, f->v.i);
        break;
    case LOG_T_U64:
        n = snprintf(num, sizeof num, "%" PRIu64, f->v.u);
        break;
    case LOG_T_F64:
        n = snprintf(num, sizeof num, "%.6g", f->v.f);
        break;
    case LOG_T_HEX:
        n = snprintf(num, sizeof num, "%016" PRIx64, f->v.u);
        break;
    }
    put(l, num, (size_t)n);
}

static void put_time(struct line *l)
{
    char text[100];
    uint64_t now_ms = clock_unix_ms();
    struct clock_date d = clock_date_of(now_ms / 1000);
    int n = snprintf(text, sizeof text, "ts=%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", d.year, d.month,
                     d.day, d.hour, d.minute, d.second, (unsigned)(now_ms % 1000));
    put(l, text, (size_t)n);
}

void log_write(enum log_level level, const char *slug, const struct log_field *fields, size_t n)
{
    if ((int)level < atomic_load(&least_level))
        return;
    struct line l = {.len = 0};
    put_time(&l);
    put_cstr(&l, " level=");
    put_cstr(&l, LEVELS[level]);
    put_cstr(&l, " svc=");
    put_cstr(&l, service_name);
    put_cstr(&l, " ev=");
    put_cstr(&l, slug);
    for (size_t i = 0; i < n; i++)
        put_field(&l, &fields[i]);
    l.text[l.len++] = '\n';
    ssize_t wrote = write(STDERR_FILENO, l.text, l.len);
    (void)wrote; /* there is nowhere left to report it */
}
