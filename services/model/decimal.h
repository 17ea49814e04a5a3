/* SPDX-License-Identifier: MIT */
/* decimal: what a number that a file keeps as binary32 was meant to be. */
#ifndef HALO_MODEL_DECIMAL_H
#define HALO_MODEL_DECIMAL_H

/* The decimal number with the fewest digits that rounds to this finite binary32: 1e-5 for
 * 9.99999974e-06. */
double decimal_of_f32(float x);

#endif
