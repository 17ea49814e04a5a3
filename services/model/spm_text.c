/* SPDX-License-Identifier: MIT */
#include "services/model/spm_text.h"

#include <string.h>

static int hex(char c)
{
    static const char DIGITS[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c != '\0' ? strchr(DIGITS, c) : NULL;
    return at != NULL ? (int)(at - DIGITS) % 16 : -1;
}

int spm_text_byte(struct str text)
{
    if (text.len != 6 || memcmp(text.ptr, "<0x", 3) != 0 || text.ptr[5] != '>')
        return -1;
    int high = hex(text.ptr[3]);
    int low = hex(text.ptr[4]);
    return high >= 0 && low >= 0 ? high * 16 + low : -1;
}

void spm_text_add(struct buf *b, struct str text)
{
    static const size_t MARK = sizeof SPM_TEXT_SPACE - 1;
    while (text.len > 0) {
        const char *mark = memmem(text.ptr, text.len, SPM_TEXT_SPACE, MARK);
        size_t n = mark != NULL ? (size_t)(mark - text.ptr) : text.len;
        buf_add(b, text.ptr, n);
        if (mark != NULL) {
            buf_add_char(b, ' ');
            n += MARK;
        }
        text.ptr += n;
        text.len -= n;
    }
}
