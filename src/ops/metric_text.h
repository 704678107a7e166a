/*
 * Samples of the metrics of metric_table.h, gathered in any order and written as Prometheus text
 * (exposition format 0.0.4) in the table's. For one thread; memory that runs out is reported once,
 * by metric_text_finish.
 */
#ifndef UTUN_OPS_METRIC_TEXT_H
#define UTUN_OPS_METRIC_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/histogram.h"
#include "ops/metric_table.h"

#define METRIC_TEXT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metric_text;

enum err metric_text_new(struct metric_text **out) MUST_USE;

/* NULL is fine. */
void metric_text_free(struct metric_text *t);

/* The values of a metric's labels, in the table's order; any bytes. */
#define METRIC_LABELS(...) ((const char *const[]){__VA_ARGS__})
#define METRIC_NO_LABELS   NULL

/* One sample of a counter or gauge. The same metric and labels must not come twice. */
void metric_count(struct metric_text *t, enum metric_id id, const char *const *labels,
                  uint64_t value);
void metric_number(struct metric_text *t, enum metric_id id, const char *const *labels,
                   double value);

/* The samples of a histogram of durations, in seconds. */
void metric_histogram(struct metric_text *t, enum metric_id id, const char *const *labels,
                      const struct histogram_sum *value);

/* The whole page, from malloc; metrics without a sample are left out. ERR_NOMEM. */
enum err metric_text_finish(struct metric_text *t, char **out, size_t *len) MUST_USE;

#endif
