#include "ops/metric_table.h"

#include <string.h>

static const struct metric_row rows[METRIC_COUNT] = {
#define METRIC_ROW(id, name_, type_, roles_, labels_, help_)                                       \
    [METRIC_##id] = {.name = (name_),                                                              \
                     .labels = (labels_),                                                          \
                     .help = (help_),                                                              \
                     .type = METRIC_TYPE_##type_,                                                  \
                     .roles = METRIC_ROLES_##roles_},
    METRIC_LIST(METRIC_ROW)
#undef METRIC_ROW
};

const struct metric_row *metric_table_row(enum metric_id id)
{
    return &rows[id];
}

const char *metric_type_name(enum metric_type type)
{
    switch (type) {
    case METRIC_TYPE_COUNTER:
        return "counter";
    case METRIC_TYPE_GAUGE:
        return "gauge";
    case METRIC_TYPE_HISTOGRAM:
        break;
    }
    return "histogram";
}

static const char *roles_name(enum metric_roles roles)
{
    switch (roles) {
    case METRIC_ROLES_SOURCE:
        return "source";
    case METRIC_ROLES_DEST:
        return "dest";
    case METRIC_ROLES_BOTH:
        break;
    }
    return "both";
}

void metric_table_document(FILE *out)
{
    fputs("| metric | type | labels | role | what it says |\n|---|---|---|---|---|\n", out);
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &rows[i];
        const char *label = row->labels;

        fprintf(out, "| `%s` | %s | ", row->name, metric_type_name(row->type));
        while (*label != 0) {
            size_t len = strcspn(label, ",");

            fprintf(out, "`%.*s`%s", (int)len, label, label[len] == 0 ? "" : ", ");
            label += len + (label[len] == 0 ? 0 : 1);
        }
        fprintf(out, " | %s | %s |\n", roles_name(row->roles), row->help);
    }
}
