/* SPDX-License-Identifier: MIT */
#include "services/gateway/errors.h"

#include <ctype.h>
#include <stdio.h>

#include "common/check.h"

enum { RETRY_MS = 1000 }; /* where nobody knows better */

struct problem_row {
    int status;
    const char *type;
    const char *code;
};

static const struct problem_row PROBLEMS[] = {
#define PROBLEM(name, http, type, code) {http, type, code},
#include "services/gateway/errors.def"
#undef PROBLEM
};

void error_set(struct api_error *e, enum problem p, const char *param, const char *fmt, ...)
{
    const struct problem_row *row = &PROBLEMS[p];
    va_list ap;
    *e = (struct api_error){.status = row->status, .type = row->type};
    if (row->status == 429 || row->status == 503)
        e->retry_ms = RETRY_MS;
    (void)snprintf(e->code, sizeof e->code, "%s", row->code);
    (void)snprintf(e->param, sizeof e->param, "%s", param != NULL ? param : "");
    va_start(ap, fmt);
    (void)vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
}

/* ERR_NO_ENGINE -> "no_engine"; the codes that clients already know keep their names. */
static void name_code(struct api_error *e, enum err code)
{
    if (code == ERR_CONTEXT) {
        (void)snprintf(e->code, sizeof e->code, "context_length_exceeded");
        return;
    }
    if (code == ERR_MODEL_UNKNOWN) {
        (void)snprintf(e->code, sizeof e->code, "model_not_found");
        return;
    }
    const char *name = err_name(code) + sizeof "ERR_" - 1;
    size_t i = 0;
    for (; name[i] != '\0' && i + 1 < sizeof e->code; i++)
        e->code[i] = (char)tolower((unsigned char)name[i]);
    e->code[i] = '\0';
}

void error_from_err(struct api_error *e, enum err code, struct str detail)
{
    ASSERT(code != ERR_OK);
    *e = (struct api_error){.status = err_http_status(code)};
    if (e->status == 499)
        e->status = 503; /* the client is still there: someone else cancelled */
    e->type = e->status >= 500   ? "server_error"
              : e->status == 429 ? "rate_limit_error"
                                 : "invalid_request_error";
    if (err_is_retryable(code) || e->status == 503)
        e->retry_ms = RETRY_MS;
    name_code(e, code);
    (void)snprintf(e->message, sizeof e->message, "%s%s%.*s", err_text(code),
                   detail.len > 0 ? ": " : "", (int)(detail.len < 500 ? detail.len : 500),
                   detail.len > 0 ? detail.ptr : "");
}

void error_write(const struct api_error *e, struct buf *out)
{
    buf_add_cstr(out, "{\"error\":{\"message\":");
    buf_add_json(out, str_from(e->message));
    buf_printf(out, ",\"type\":\"%s\",\"param\":", e->type);
    if (e->param[0] != '\0')
        buf_add_json(out, str_from(e->param));
    else
        buf_add_cstr(out, "null");
    buf_printf(out, ",\"code\":\"%s\"}}", e->code);
}
