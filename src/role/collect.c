#include "role/collect.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ops/log.h"

#define ADD_FIELD(name) sum->name += stats_get(&stats->name);

void collect_add_flows(struct collect_flows *sum, const struct flow_stats *stats)
{
    FLOW_STATS_LIST(ADD_FIELD)
}

/* -- workers -- */

void collect_add_worker(struct collect_workers *sum, struct worker *w)
{
    const struct stats *stats = worker_stats(w);
    struct worker_limits limits;

#define ADD_TIME(name)                                                                             \
    if (stats_get(&stats->name) > sum->name)                                                       \
        sum->name = stats_get(&stats->name);
#define ADD_REASON(name)                                                                           \
    for (size_t i = 0; i < ERR_COUNT; i++)                                                         \
        sum->name[i] += stats_get(&stats->name[i]);
#define ADD_DURATION(name) histogram_sum_add(&sum->name, &stats->name);
    STATS_LIST(ADD_FIELD)
    STATS_TIMES(ADD_TIME)
    STATS_REASONS(ADD_REASON)
    STATS_DURATIONS(ADD_DURATION)
#undef ADD_TIME
#undef ADD_REASON
#undef ADD_DURATION
    collect_add_flows(&sum->flows, &stats->flows);
    worker_get_limits(w, &limits);
    sum->limits.pool_bytes += limits.pool_bytes;
    sum->limits.hold_bytes += limits.hold_bytes;
    sum->limits.credit_bytes += limits.credit_bytes;
    sum->count++;
    sum->carried += stats_get(&stats->tunnels_carried) > 0 ? 1 : 0;
}

/* Two counters of one moment may have been read at two. */
static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* One sample for each reason that there was, the enum err by its name. */
static void write_reasons(struct metric_text *m, enum metric_id id,
                          const uint64_t counts[ERR_COUNT])
{
    for (size_t i = 0; i < ERR_COUNT; i++) {
        if (counts[i] > 0)
            metric_count(m, id, METRIC_LABELS(err_name((enum err)i)), counts[i]);
    }
}

static void write_sessions(struct metric_text *m, const struct collect_workers *sum)
{
    metric_count(m, METRIC_SESSIONS, METRIC_LABELS("up"), sum->sessions_up);
    metric_count(m, METRIC_SESSIONS, METRIC_LABELS("opening"),
                 less(sum->carriers_active, sum->sessions_up));
    metric_count(m, METRIC_SESSIONS_OPENED, METRIC_NO_LABELS, sum->sessions_opened);
    write_reasons(m, METRIC_SESSIONS_CLOSED, sum->sessions_closed);
    metric_count(m, METRIC_TUNNELS, METRIC_LABELS("carried"), sum->tunnels_carried);
    metric_count(m, METRIC_TUNNELS, METRIC_LABELS("waiting"),
                 less(sum->tunnels, sum->tunnels_carried));
    write_reasons(m, METRIC_RECONNECTS, sum->reconnects);
    write_reasons(m, METRIC_REFRESHES, sum->refreshes);
    metric_count(m, METRIC_RESUMES, METRIC_NO_LABELS, sum->resumes);
    metric_count(m, METRIC_RESUME_RESENT, METRIC_NO_LABELS, sum->resent_bytes);
    metric_histogram(m, METRIC_RESUME_PAUSE, METRIC_NO_LABELS, &sum->resume_pause);
    metric_count(m, METRIC_ROTATIONS, METRIC_LABELS("ok"), sum->rotations);
    metric_count(m, METRIC_ROTATIONS, METRIC_LABELS("late"), sum->rotations_late);
    metric_histogram(m, METRIC_RTT, METRIC_NO_LABELS, &sum->rtt);
    metric_count(m, METRIC_HEARTBEATS_MISSED, METRIC_NO_LABELS, sum->heartbeats_missed);
}

static void write_streams(struct metric_text *m, const struct collect_workers *sum)
{
    write_reasons(m, METRIC_STREAMS_REFUSED, sum->streams_refused);
    metric_count(m, METRIC_STREAMS_HALF_CLOSED, METRIC_NO_LABELS, sum->streams_half_closed);
    metric_count(m, METRIC_STREAMS_PAUSED, METRIC_LABELS("send"), sum->streams_paused_send);
    metric_count(m, METRIC_STREAMS_PAUSED, METRIC_LABELS("receive"), sum->streams_paused_receive);
}

bool collect_get_drop(const struct collect_flows *flows, size_t index, const char **reason,
                      uint64_t *count)
{
    const struct {
        const char *reason;
        uint64_t count;
    } drops[] = {
        {"queue", flows->dropped_queue},
        {"memory", flows->dropped_memory},
        {"no_session", flows->dropped_no_session},
        {"too_large", flows->dropped_too_large},
        {"limit", flows->dropped_limit},
        {"unknown", flows->dropped_unknown},
        {"closed", flows->dropped_closed},
        {"socket", flows->dropped_socket},
        {"target_refused", flows->dropped_target_refused},
    };

    if (index >= sizeof(drops) / sizeof(drops[0]))
        return false;
    *reason = drops[index].reason;
    *count = drops[index].count;
    return true;
}

static void write_drops(struct metric_text *m, const struct collect_flows *flows)
{
    const char *reason;
    uint64_t count;

    for (size_t i = 0; collect_get_drop(flows, i, &reason, &count); i++)
        metric_count(m, METRIC_DATAGRAMS_DROPPED, METRIC_LABELS(reason), count);
}

static void write_resources(struct metric_text *m, const struct collect_workers *sum)
{
    metric_count(m, METRIC_WORKERS, METRIC_NO_LABELS, sum->count);
    metric_count(m, METRIC_WIRE_BYTES, METRIC_LABELS("in"), sum->carrier_bytes_in);
    metric_count(m, METRIC_WIRE_BYTES, METRIC_LABELS("out"), sum->carrier_bytes_out);
    metric_count(m, METRIC_WIRE_CALLS, METRIC_LABELS("in"), sum->carrier_reads);
    metric_count(m, METRIC_WIRE_CALLS, METRIC_LABELS("out"), sum->carrier_writes);
    metric_count(m, METRIC_BUFFER_BYTES, METRIC_NO_LABELS, sum->pool_bytes);
    metric_count(m, METRIC_BUFFER_LIMIT, METRIC_NO_LABELS, sum->limits.pool_bytes);
    metric_count(m, METRIC_QUEUE_BYTES, METRIC_LABELS("send"), sum->hold_bytes);
    metric_count(m, METRIC_QUEUE_BYTES, METRIC_LABELS("receive"), sum->credit_bytes);
    metric_count(m, METRIC_QUEUE_LIMIT, METRIC_LABELS("send"), sum->limits.hold_bytes);
    metric_count(m, METRIC_QUEUE_LIMIT, METRIC_LABELS("receive"), sum->limits.credit_bytes);
    metric_histogram(m, METRIC_LOOP_LAG, METRIC_NO_LABELS, &sum->loop_lag);
    metric_count(m, METRIC_LOOP_TURNS, METRIC_NO_LABELS, sum->turns);
}

void collect_write_workers(struct metric_text *m, const struct collect_workers *sum)
{
    write_sessions(m, sum);
    write_streams(m, sum);
    write_drops(m, &sum->flows);
    write_resources(m, sum);
}

/* -- services -- */

void collect_add_pumps(struct collect_service *sum, const struct pump_stats *stats,
                       enum collect_side side)
{
    uint64_t from_local = stats_get(&stats->bytes_from_local);
    uint64_t to_local = stats_get(&stats->bytes_to_local);
    uint64_t connected = stats_get(&stats->connected_at_us);
    uint64_t failed = stats_get(&stats->failed_at_us);

    sum->opened += stats_get(&stats->opened);
    sum->active += stats_get(&stats->active);
    sum->bytes_to_target += side == COLLECT_CLIENTS ? from_local : to_local;
    sum->bytes_to_client += side == COLLECT_CLIENTS ? to_local : from_local;
    for (size_t i = 0; i < ERR_COUNT; i++)
        sum->ended[i] += stats_get(&stats->ended[i]);
    histogram_sum_add(&sum->connect, &stats->connect);
    if (connected > sum->connected_at_us)
        sum->connected_at_us = connected;
    if (failed > sum->failed_at_us) {
        sum->failed_at_us = failed;
        sum->failure = (enum err)stats_get(&stats->failure);
    }
}

static void write_service_streams(struct metric_text *m, const struct collect_service *sum)
{
    const char *service = sum->label;

    metric_count(m, METRIC_STREAMS, METRIC_LABELS(service), sum->active);
    metric_count(m, METRIC_STREAMS_OPENED, METRIC_LABELS(service), sum->opened);
    for (size_t i = 0; i < ERR_COUNT; i++) {
        if (sum->ended[i] > 0 || i == ERR_OK)
            metric_count(m, METRIC_STREAMS_CLOSED, METRIC_LABELS(service, err_name((enum err)i)),
                         sum->ended[i]);
    }
    metric_count(m, METRIC_STREAM_BYTES, METRIC_LABELS(service, "to_target"), sum->bytes_to_target);
    metric_count(m, METRIC_STREAM_BYTES, METRIC_LABELS(service, "to_client"), sum->bytes_to_client);
    if (sum->target_host != NULL)
        metric_histogram(m, METRIC_TARGET_CONNECT, METRIC_LABELS(service), &sum->connect);
}

static void write_service_flows(struct metric_text *m, const struct collect_service *sum)
{
    const struct collect_flows *flows = &sum->flows;
    const char *service = sum->label;
    const char *from_local = sum->target_host == NULL ? "to_target" : "to_client";
    const char *to_local = sum->target_host == NULL ? "to_client" : "to_target";
    const char *reason;
    uint64_t count;

    metric_count(m, METRIC_FLOWS, METRIC_LABELS(service), flows->flows_active);
    metric_count(m, METRIC_FLOWS_OPENED, METRIC_LABELS(service), flows->flows_opened);
    metric_count(m, METRIC_FLOWS_REFUSED, METRIC_LABELS(service), flows->flows_refused);
    metric_count(m, METRIC_DATAGRAMS, METRIC_LABELS(service, from_local),
                 flows->datagrams_from_local);
    metric_count(m, METRIC_DATAGRAMS, METRIC_LABELS(service, to_local), flows->datagrams_to_local);
    metric_count(m, METRIC_DATAGRAM_BYTES, METRIC_LABELS(service, from_local),
                 flows->datagram_bytes_from_local);
    metric_count(m, METRIC_DATAGRAM_BYTES, METRIC_LABELS(service, to_local),
                 flows->datagram_bytes_to_local);
    for (size_t i = 0; collect_get_drop(flows, i, &reason, &count); i++) {
        if (count > 0 || i == 0)
            metric_count(m, METRIC_SERVICE_DROPPED, METRIC_LABELS(service, reason), count);
    }
}

void collect_write_service(struct metric_text *m, const struct collect_service *sum)
{
    if (sum->limit > 0)
        metric_count(m, METRIC_STREAMS_LIMIT, METRIC_LABELS(sum->label), sum->limit);
    if (sum->has_streams)
        write_service_streams(m, sum);
    if (sum->has_flows)
        write_service_flows(m, sum);
}

/* -- handshakes -- */

void collect_write_handshakes(struct metric_text *m, const struct handshaker_stats *stats,
                              const char *mode)
{
    struct histogram_sum duration = {.count = 0};
    uint64_t refused[ERR_COUNT];

    for (size_t i = 0; i < ERR_COUNT; i++) {
        uint64_t ended = stats_get(&stats->ended[i]);

        if (ended > 0 || i == ERR_OK)
            metric_count(m, METRIC_HANDSHAKES, METRIC_LABELS(mode, err_name((enum err)i)), ended);
        refused[i] = stats_get(&stats->refused[i]);
    }
    write_reasons(m, METRIC_HANDSHAKES_REFUSED, refused);
    metric_count(m, METRIC_HANDSHAKES_IN_FLIGHT, METRIC_NO_LABELS, stats_get(&stats->in_flight));
    histogram_sum_add(&duration, &stats->duration);
    metric_histogram(m, METRIC_HANDSHAKE_DURATION, METRIC_LABELS(mode), &duration);
}

/* -- certificates -- */

static void write_expiry(struct metric_text *m, enum metric_id id, const char *const *labels,
                         int64_t at)
{
    if (at != INT64_MAX)
        metric_number(m, id, labels, (double)at);
}

void collect_write_credentials(struct metric_text *m, const struct credentials *c)
{
    struct identity_expiries expiries;
    uint64_t reloads[ERR_COUNT];

    credentials_get_expiries(c, &expiries);
    credentials_get_reloads(c, reloads);
    write_expiry(m, METRIC_CERTIFICATE_EXPIRY, METRIC_LABELS("own"), expiries.own);
    write_expiry(m, METRIC_CERTIFICATE_EXPIRY, METRIC_LABELS("ca"), expiries.ca);
    write_expiry(m, METRIC_CRL_EXPIRY, METRIC_NO_LABELS, expiries.crl);
    write_reasons(m, METRIC_IDENTITY_RELOADS, reloads);
}

/* -- the process -- */

static uint64_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the folder's own */
}

/* When the machine was started, in seconds since 1970; 0 if it does not say. */
static uint64_t boot_time(void)
{
    static const char key[] = "btime ";
    FILE *file = fopen("/proc/stat", "re");
    uint64_t seconds = 0;
    char line[256];

    if (file == NULL)
        return 0;
    while (seconds == 0 && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0)
            seconds = strtoull(line + strlen(key), NULL, 10);
    }
    fclose(file);
    return seconds;
}

struct process_state {
    uint64_t threads;
    uint64_t start_ticks; /* after the boot */
    uint64_t resident_pages;
};

/* Numbers of the fields of /proc/self/stat, see proc(5). */
#define FIELD_BEHIND_NAME 3
#define FIELD_THREADS     20
#define FIELD_START       22
#define FIELD_RESIDENT    24

static bool read_process(struct process_state *state)
{
    FILE *file = fopen("/proc/self/stat", "re");
    char text[1024];
    char *field;
    size_t len;

    if (file == NULL)
        return false;
    len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = 0;
    field = strrchr(text, ')'); /* the name may hold anything */
    for (int i = FIELD_BEHIND_NAME; field != NULL && i <= FIELD_RESIDENT; i++) {
        field = strchr(field, ' ');
        if (field == NULL)
            return false;
        field++;
        if (i == FIELD_THREADS)
            state->threads = strtoull(field, NULL, 10);
        else if (i == FIELD_START)
            state->start_ticks = strtoull(field, NULL, 10);
        else if (i == FIELD_RESIDENT)
            state->resident_pages = strtoull(field, NULL, 10);
    }
    return field != NULL;
}

void collect_write_process(struct metric_text *m)
{
    struct rusage usage = {.ru_utime = {0}};
    struct rlimit files = {.rlim_cur = 0};
    struct process_state state = {.threads = 0};

    metric_count(m, METRIC_LOG_DROPPED, METRIC_NO_LABELS, log_dropped());
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        metric_number(m, METRIC_PROCESS_CPU, METRIC_NO_LABELS,
                      (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                          (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    metric_count(m, METRIC_PROCESS_OPEN_FDS, METRIC_NO_LABELS, open_descriptors());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        metric_count(m, METRIC_PROCESS_MAX_FDS, METRIC_NO_LABELS, files.rlim_cur);
    if (!read_process(&state))
        return;
    metric_count(m, METRIC_PROCESS_RESIDENT, METRIC_NO_LABELS,
                 state.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE));
    metric_count(m, METRIC_PROCESS_THREADS, METRIC_NO_LABELS, state.threads);
    metric_number(m, METRIC_PROCESS_START, METRIC_NO_LABELS,
                  (double)boot_time() + (double)state.start_ticks / (double)sysconf(_SC_CLK_TCK));
}
