/* SPDX-License-Identifier: MIT */
#include "common/utf8.h"

/* Length and allowed range of the second byte for each first byte. */
static int lead_info(unsigned char c, unsigned char *ret_lo, unsigned char *ret_hi)
{
    *ret_lo = 0x80;
    *ret_hi = 0xbf;
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if (c >= 0xe0 && c <= 0xef) {
        if (c == 0xe0)
            *ret_lo = 0xa0;
        if (c == 0xed)
            *ret_hi = 0x9f;
        return 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if (c == 0xf0)
            *ret_lo = 0x90;
        if (c == 0xf4)
            *ret_hi = 0x8f;
        return 4;
    }
    return 0;
}

int utf8_next(const char *s, size_t len)
{
    unsigned char lo;
    unsigned char hi;
    int n = lead_info((unsigned char)s[0], &lo, &hi);
    if (n == 0)
        return -1;
    for (int i = 1; i < n; i++) {
        if ((size_t)i >= len)
            return 0;
        unsigned char c = (unsigned char)s[i];
        if (c < lo || c > hi)
            return -i;
        lo = 0x80;
        hi = 0xbf;
    }
    return n;
}

bool utf8_is_valid(const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        int n = utf8_next(s + i, len - i);
        if (n <= 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

unsigned utf8_decode(const char *s, int n_bytes)
{
    static const unsigned char MASK[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    unsigned cp = (unsigned char)s[0] & MASK[n_bytes];
    for (int i = 1; i < n_bytes; i++)
        cp = cp << 6 | ((unsigned char)s[i] & 0x3fU);
    return cp;
}
