/* SPDX-License-Identifier: MIT */
/* What people read of the wire: trace lines and PROTOCOL.md, both from the field tables. */
#include <string.h>

#include <inttypes.h>

#include "proto/schema.h"

const char *frame_name(enum frame_type type)
{
    const struct schema *s = schema_of_frame((uint32_t)type);
    return s != NULL ? s->name : "unknown";
}

/* ---- trace ------------------------------------------------------------------------------------- */

enum { TRACE_ELEMENTS = 8 }; /* longer lists are cut with their count */

static void trace_struct(struct buf *out, const struct schema *s, const void *body);

static void trace_many(struct buf *out, const struct field *f, const void *body)
{
    const char *items;
    size_t n;
    memcpy(&items, (const char *)body + f->offset, sizeof items);
    memcpy(&n, (const char *)body + f->offset_n, sizeof n);
    buf_add_char(out, '[');
    for (size_t i = 0; i < n && i < TRACE_ELEMENTS; i++) {
        uint32_t id;
        struct str str;
        if (i > 0)
            buf_add_char(out, ' ');
        if (f->type == FIELD_IDS) {
            memcpy(&id, items + i * sizeof id, sizeof id);
            buf_printf(out, "%" PRIu32, id);
        } else if (f->type == FIELD_STRS) {
            memcpy(&str, items + i * sizeof str, sizeof str);
            buf_printf(out, "<%zu bytes>", str.len);
        } else {
            const struct schema *record = f->record();
            trace_struct(out, record, items + i * record->size);
        }
    }
    if (n > TRACE_ELEMENTS)
        buf_printf(out, " ... %zu in all", n);
    buf_add_char(out, ']');
}

static void trace_field(struct buf *out, const struct field *f, const void *body)
{
    const void *p = (const char *)body + f->offset;
    uint64_t u64;
    uint32_t u32;
    float f32;
    struct str str;
    switch (f->type) {
    case FIELD_U32:
        memcpy(&u32, p, sizeof u32);
        buf_printf(out, "%" PRIu32, u32);
        break;
    case FIELD_U64:
        memcpy(&u64, p, sizeof u64);
        buf_printf(out, "%" PRIu64, u64);
        break;
    case FIELD_F32:
        memcpy(&f32, p, sizeof f32);
        buf_printf(out, "%g", (double)f32);
        break;
    case FIELD_BOOL:
        buf_add_cstr(out, *(const bool *)p ? "true" : "false");
        break;
    case FIELD_STR:
        memcpy(&str, p, sizeof str);
        buf_add_json(out, str);
        break;
    case FIELD_TEXT:
        memcpy(&str, p, sizeof str);
        buf_printf(out, "<%zu bytes>", str.len);
        break;
    case FIELD_IDS:
    case FIELD_STRS:
    case FIELD_LIST:
        trace_many(out, f, body);
        break;
    case FIELD_REC:
        trace_struct(out, f->record(), p);
        break;
    }
}

static void trace_struct(struct buf *out, const struct schema *s, const void *body)
{
    buf_add_char(out, '{');
    for (size_t i = 0; i < s->n_fields; i++) {
        buf_printf(out, "%s%s:", i > 0 ? " " : "", s->fields[i].name);
        trace_field(out, &s->fields[i], body);
    }
    buf_add_char(out, '}');
}

void frame_trace(struct buf *out, const struct frame *f)
{
    const struct schema *s = schema_of_frame((uint32_t)f->type);
    buf_add_cstr(out, frame_name(f->type));
    if (s != NULL)
        trace_struct(out, s, f->body);
}

/* ---- PROTOCOL.md ------------------------------------------------------------------------------- */

static void document_type(struct buf *out, const struct field *f)
{
    static const char *const NAMES[] = {"u32",  "u64",   "f32",    "bool", "str",
                                        "text", "[u32]", "[text]", "",     ""};
    switch (f->type) {
    case FIELD_REC:
        buf_printf(out, "%s", f->record()->name);
        break;
    case FIELD_LIST:
        buf_printf(out, "[%s], at most %zu", f->record()->name, f->cap);
        break;
    case FIELD_STRS:
    case FIELD_IDS:
        buf_printf(out, "%s, at most %zu", NAMES[f->type], f->cap);
        break;
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_F32:
    case FIELD_BOOL:
    case FIELD_STR:
    case FIELD_TEXT:
        buf_add_cstr(out, NAMES[f->type]);
        break;
    }
}

static void document_schema(struct buf *out, const struct schema *s)
{
    if (s->number != 0)
        buf_printf(out, "\n### %s (%" PRIu32 ")\n\n%s\n", s->name, s->number, s->doc);
    else
        buf_printf(out, "\n### %s\n\n%s\n", s->name, s->doc);
    if (s->n_fields == 0)
        return;
    buf_add_cstr(out, "\n| key | field | type | required | since | meaning |\n");
    buf_add_cstr(out, "| --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct field *f = &s->fields[i];
        buf_printf(out, "| %d | %s | ", f->key, f->name);
        document_type(out, f);
        buf_printf(out, " | %s | %d | %s |\n", f->is_required ? "yes" : "", f->since, f->doc);
    }
}

static void document_kind(struct buf *out, bool frames)
{
    const struct schema *s;
    for (size_t i = 0; (s = schema_at(i)) != NULL; i++) {
        if ((s->number != 0) == frames)
            document_schema(out, s);
    }
}

void frame_document(struct buf *out)
{
    buf_printf(
        out,
        "<!-- Made from proto/frames.def by proto/halo-protocol; do not edit. -->\n"
        "# Halo's wire protocol, version %d\n\n"
        "One message is one nng message on an `ipc://` socket (mode 0600, same user on both "
        "sides) and holds one msgpack\narray: `[number, epoch, {key: value, ...}]`. The epoch "
        "is drawn at the sender's start; each\nframe of a connection adds one to it. Messages are "
        "at most %d bytes\nand nest at most 8 "
        "deep. A malformed message drops the peer that sent it.\n\n"
        "Fields that are not required are left out when zero or empty. Unknown keys are "
        "skipped. Keys are never reused; a new\nfield is optional and carries the protocol "
        "version that brought it.\n\n"
        "`str` and `text` are msgpack strings of any bytes; `text` is a user's or a model's "
        "and never appears in a log.\n",
        PROTO_VERSION, FRAME_MAX_BYTES);
    buf_add_cstr(
        out, "\nA connection: the caller sends `hello` to the service's well-known rep0 socket "
             "`$HALO_RUN/<service>.sock` and gets\n`welcome` with the address of a pair0 socket "
             "that is his alone; all else runs there. Both sides send `beat`; `bye` and\n"
             "`bye_ok` end it. When it breaks, the caller says `hello` again.\n\n"
             "Between machines: TLS 1.3 with certificates on both sides over TCP (`tls+tcp://`); "
             "in it, both ends send\n"
             "the eight bytes of greeting of nng's pair0, then messages as on a socket of "
             "`ipc://`. The first is the\n"
             "caller's `hello`, answered by `welcome` (its address is empty) or `refuse`.\n");
    buf_add_cstr(out, "\n## Frames\n");
    document_kind(out, true);
    buf_add_cstr(out, "\n## Records\n");
    document_kind(out, false);
}
