/* SPDX-License-Identifier: MIT */
/* All GPU kernels as one code object: compiled once per target, and once for the harness. */
#include "kernels/hip/norm.hip"

#include "kernels/hip/rows.hip"

#include "kernels/hip/few.hip"

#include "kernels/hip/linear.hip"

#include "kernels/hip/matrix.hip"

#include "kernels/hip/rope.hip"

#include "kernels/hip/attention_row.hip"

#include "kernels/hip/attention.hip"

#include "kernels/hip/attention8.hip"

#include "kernels/hip/bounds.hip"

#include "kernels/hip/head.hip"

#include "kernels/hip/top.hip"
