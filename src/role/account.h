/*
 * What a dest says of each stream and flow that a source has asked for, once, when it is refused or
 * over: the audit line, a warning where it came to nothing, the count of refusals. The same for
 * services and for hosts that clients name. Threads: the tunnel's worker.
 */
#ifndef UTUN_ROLE_ACCOUNT_H
#define UTUN_ROLE_ACCOUNT_H

#include <stdint.h>

#include "base/error.h"
#include "net/flow_owner.h"
#include "net/pump.h"
#include "net/stats.h"
#include "role/audit.h"
#include "tunnel/frame.h"

/* What was asked for, and by whom. A view: everything lives as long as the call. */
struct account {
    const struct audit_who *who;
    struct audit_pace *pace; /* of what comes to nothing */
    uint64_t now_us;
    struct stats *stats;     /* of the worker */
    const char *protocol;    /* "tcp", "udp" */
    const char *service;     /* its name; "" for a host that the client has named */
    const char *target_host; /* or a path; "" where there is none */
    uint16_t target_port;    /* 0: it is a path */
};

/* It is over; how it went, as the line says. */
enum audit_result account_stream(const struct account *a, const struct pump_end *end);
enum audit_result account_flow(const struct account *a, const struct flow_end *end);

/* It was refused before there was a pump, or a flow. */
void account_refused(const struct account *a, const struct stream_target *target, enum err why,
                     const char *detail);

#endif
