/* SPDX-License-Identifier: MIT */
#include "services/model/printable.h"

#include "common/utf8.h"

static bool is_itself(unsigned code)
{
    return (code >= 33 && code <= 126) || (code >= 161 && code <= 172) ||
           (code >= 174 && code <= 255);
}

/* The bytes that are not themselves are 0..32, 127..160 and 173. */
static int byte_of(unsigned code)
{
    if (is_itself(code))
        return (int)code;
    if (code < 0x100 || code > 0x143)
        return -1;
    unsigned i = code - 0x100;
    if (i <= 32)
        return (int)i;
    if (i <= 66)
        return (int)(127 + i - 33);
    return 173;
}

bool printable_add_bytes(struct buf *b, struct str text)
{
    size_t len_before = b->len;
    while (text.len > 0) {
        int n = utf8_next(text.ptr, text.len);
        int byte = n > 0 ? byte_of(utf8_decode(text.ptr, n)) : -1;
        if (byte < 0) {
            b->len = len_before;
            return false;
        }
        buf_add_char(b, (char)byte);
        text.ptr += n;
        text.len -= (size_t)n;
    }
    return true;
}
