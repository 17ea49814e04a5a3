/* SPDX-License-Identifier: MIT */
/* UTF-8 as Unicode 3.9 table 3-7 defines it: no overlong forms, no surrogates, at most U+10FFFF. */
#ifndef HALO_COMMON_UTF8_H
#define HALO_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Looks at the character at s[0..len). Returns its length 1..4 if it is whole and valid; 0 if it may
 * become valid with more bytes; -k if its first k bytes (1..3) can never be part of a valid character
 * (the "maximal subpart", to be shown as one U+FFFD). len must be at least 1. */
int utf8_next(const char *s, size_t len);

/* Whether all of s is valid UTF-8. */
bool utf8_is_valid(const char *s, size_t len);

/* The code point of a character that utf8_next found valid. */
unsigned utf8_decode(const char *s, int n_bytes);

#endif
