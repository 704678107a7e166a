/*
 * What the threads of a role have counted, added up and handed to the metrics page. Reads counters
 * only: nothing here waits for a worker. Any thread.
 */
#ifndef UTUN_ROLE_COLLECT_H
#define UTUN_ROLE_COLLECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/histogram.h"
#include "net/address.h"
#include "net/handshaker.h"
#include "net/pump.h"
#include "net/stats.h"
#include "net/worker.h"
#include "ops/metric_text.h"
#include "role/credentials.h"

#define COLLECT_FIELD(name) uint64_t name;

/* All zeros is none, here and below. */
struct collect_flows {
    FLOW_STATS_LIST(COLLECT_FIELD)
};

/* Of several workers. */
struct collect_workers {
#define COLLECT_REASON(name)   uint64_t name[ERR_COUNT];
#define COLLECT_DURATION(name) struct histogram_sum name;
    STATS_LIST(COLLECT_FIELD)
    STATS_TIMES(COLLECT_FIELD)
    STATS_REASONS(COLLECT_REASON)
    STATS_DURATIONS(COLLECT_DURATION)
    struct collect_flows flows;
#undef COLLECT_REASON
#undef COLLECT_DURATION
    struct worker_limits limits;
    unsigned count;
    unsigned carried; /* workers that have a session for new streams */
};

#undef COLLECT_FIELD

void collect_add_worker(struct collect_workers *sum, struct worker *w);
void collect_write_workers(struct metric_text *m, const struct collect_workers *sum);

/* A service as one role sees it, with what the pumps of all workers have counted. */
struct collect_service {
    char label[256];    /* dest: its name, "(hosts)"; source: exposed port, path, "(entry)" */
    uint16_t port;      /* by which sources ask for it */
    uint16_t listening; /* source: the port that is really taken; dest: 0 */
    /* Source: of a Unix socket that is listened on instead, or "". */
    char path[ADDRESS_PATH_MAX + 1];
    const char *target_host; /* dest; mostly target_text. Source: NULL */
    char target_text[256];
    uint16_t target_port;
    uint32_t limit;   /* streams and flows at once; 0: no limit of its own */
    bool is_hosts;    /* dest: all that clients name, not one target */
    bool has_streams; /* TCP */
    bool has_flows;   /* UDP */

    uint64_t opened;
    uint64_t active;
    uint64_t ended[ERR_COUNT];
    uint64_t bytes_to_target;
    uint64_t bytes_to_client;
    struct histogram_sum connect;
    uint64_t connected_at_us; /* dest: worker_now of the last target that took a connection */
    uint64_t failed_at_us;    /* likewise, that did not; 0: never */
    enum err failure;         /* why */
    struct collect_flows flows;
};

/* Which of the two programs is at the local socket. */
enum collect_side {
    COLLECT_CLIENTS,
    COLLECT_TARGETS,
};

void collect_add_pumps(struct collect_service *sum, const struct pump_stats *stats,
                       enum collect_side side);
void collect_add_flows(struct collect_flows *sum, const struct flow_stats *stats);
/* The reasons for which datagrams are dropped, each with its count; false behind the last. */
bool collect_get_drop(const struct collect_flows *flows, size_t index, const char **reason,
                      uint64_t *count);

void collect_write_service(struct metric_text *m, const struct collect_service *sum);

/* mode is the kem_mode's name. */
void collect_write_handshakes(struct metric_text *m, const struct handshaker_stats *stats,
                              const char *mode);

void collect_write_credentials(struct metric_text *m, const struct credentials *c);

/* process_ and what belongs to no role. */
void collect_write_process(struct metric_text *m);

#endif
