/* SPDX-License-Identifier: MIT */
#include "services/model/decimal.h"

#include <stdio.h>
#include <stdlib.h>

double decimal_of_f32(float x)
{
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)x);
        double y = strtod(text, NULL);
        if ((float)y == x)
            return y;
    }
    return (double)x;
}
