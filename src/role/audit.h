/*
 * The audit trail of a dest: one line for each stream that a source has asked for, when it is
 * refused or over. Who (the proven certificate, and from where), what, how it went, how much, how
 * long. Not written at all where [logging] audit is false. What has come to its target is never
 * left out; what comes to nothing may cost a source next to nothing, so that only so many of each
 * tunnel are written (audit_pace).
 */
#ifndef UTUN_ROLE_AUDIT_H
#define UTUN_ROLE_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "crypto/identity.h"
#include "net/address.h"
#include "net/sweep.h"

/* A source, as a tunnel remembers it. A copy, no ownership. */
struct audit_who {
    struct identity_name name; /* all "" without a certificate */
    struct address address;    /* of its latest session */
};

enum audit_result {
    AUDIT_DONE,    /* it was connected, and is over; the reason says how */
    AUDIT_REFUSED, /* by a rule or a limit, or there is no such service */
    AUDIT_FAILED,  /* allowed, but its target could not be connected */
    AUDIT_ENDED,   /* connected, and ended because it is no longer allowed */
};

/* How many of a tunnel that were refused or failed are written: so many at once, and then so many a
 * second. */
#define AUDIT_REFUSALS_AT_ONCE  1000
#define AUDIT_REFUSALS_A_SECOND 10

/* At the latest so long after the first that is left out is said how many were. */
#define AUDIT_LEFT_OUT_MS 10000

struct audit_pace {
    uint64_t used_until_us;
    uint64_t left_out;
    struct sweep *later;      /* NULL: nobody says it later */
    struct sweep_item unsaid; /* in it while some are left out; who it comes to says so */
};

/* Nothing yet. later has AUDIT_LEFT_OUT_MS; NULL is fine. */
void audit_pace_init(struct audit_pace *pace, struct sweep *later);

struct audit_entry {
    const struct audit_who *who;
    enum audit_result result;
    enum err why;
    const char *detail;   /* for people; may be "" */
    const char *protocol; /* "tcp", "udp" */
    const char *service;  /* its name; "" where none was found */
    uint16_t port;        /* that was asked for */
    const char *target;   /* "host:port" or a path; "" where there is none */
    const struct stream_address *client;
    uint64_t bytes_to_target;
    uint64_t bytes_from_target;
    uint64_t duration_us;
};

/* Whether lines are written at all; set once, before there are threads. */
void audit_enable(bool is_on);

/* Logs "audit.stream". */
void audit_log(const struct audit_entry *entry);

/* Whether one may be written now; otherwise it is counted. */
bool audit_pace_take(struct audit_pace *pace, uint64_t now_us);

/* Says how many were left out, if there were any, and forgets them; also before the pace ends. */
void audit_log_left_out(const struct audit_who *who, struct audit_pace *pace);

/* Logs "audit.revoked": the source's tunnel is ended, with so many streams. */
void audit_log_revoked(const struct audit_who *who, enum err why, const char *detail,
                       uint64_t streams);

#endif
