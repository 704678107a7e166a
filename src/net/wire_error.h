/* The codes that travel in RESET and FLOW_CLOSE, and the errors that they stand for. */
#ifndef UTUN_NET_WIRE_ERROR_H
#define UTUN_NET_WIRE_ERROR_H

#include "base/error.h"
#include "tunnel/limits.h"

/* What the peer is told of e. */
enum wire_code wire_code_of(enum err e);

/* What the peer's code says; ERR_RESET for one that is not known, and for no_error. */
enum err wire_error(enum wire_code code);

#endif
