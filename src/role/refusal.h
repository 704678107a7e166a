/* Streams and flows that never got to their target, told apart from those that ended later. */
#ifndef UTUN_ROLE_REFUSAL_H
#define UTUN_ROLE_REFUSAL_H

#include <stdbool.h>

#include "base/error.h"
#include "net/flow_owner.h"
#include "net/pump.h"
#include "tunnel/limits.h"

/* Whether the pump ended because the dest would not, or could not, connect it. */
bool refusal_is_one(const struct pump_end *end);

/* The same of a flow. */
bool refusal_is_flow(const struct flow_end *end);

/*
 * Logs "stream.refused" with the service's port, its name ("": not known), the client and why.
 * detail may be "". Limited: a client can cause it at will.
 */
void refusal_log(uint16_t port, const char *service, const struct stream_address *client,
                 enum err why, const char *detail);

#endif
