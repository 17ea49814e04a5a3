/* SPDX-License-Identifier: MIT */
/* The one place that includes h2o. Its headers default to libuv, whose structs have another layout
 * than those of the library we link. */
#ifndef HALO_GATEWAY_H2O_LIB_H
#define HALO_GATEWAY_H2O_LIB_H

#if !defined(H2O_USE_LIBUV) || H2O_USE_LIBUV
#error "compile with -DH2O_USE_LIBUV=0: the gateway links libh2o-evloop"
#endif

#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>

#endif
