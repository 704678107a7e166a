#include "ops/metric_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The samples of one metric, as text. */
struct lines {
    FILE *file; /* NULL while there is none */
    char *text;
    size_t len;
};

struct metric_text {
    struct lines metrics[METRIC_COUNT];
    enum err error;
};

enum err metric_text_new(struct metric_text **out)
{
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? ERR_NOMEM : ERR_OK;
}

void metric_text_free(struct metric_text *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        if (t->metrics[i].file != NULL)
            fclose(t->metrics[i].file);
        free(t->metrics[i].text);
    }
    free(t);
}

static FILE *lines_of(struct metric_text *t, enum metric_id id)
{
    struct lines *l = &t->metrics[id];

    if (l->file == NULL)
        l->file = open_memstream(&l->text, &l->len);
    if (l->file == NULL)
        t->error = ERR_NOMEM;
    return l->file;
}

static void write_label_value(FILE *out, const char *value)
{
    for (; *value != 0; value++) {
        if (*value == '\n')
            fputs("\\n", out);
        else if (*value == '\\' || *value == '"')
            fprintf(out, "\\%c", *value);
        else
            fputc(*value, out);
    }
}

/* "name_suffix{a="b",le="0.1"} "; le is NULL but for the buckets of a histogram. */
static void write_series(FILE *out, enum metric_id id, const char *suffix,
                         const char *const *labels, const char *le)
{
    const struct metric_row *row = metric_table_row(id);
    const char *name = row->labels;
    char before = '{';

    fprintf(out, "%s%s", row->name, suffix);
    for (size_t i = 0; *name != 0; i++) {
        size_t len = strcspn(name, ",");

        fprintf(out, "%c%.*s=\"", before, (int)len, name);
        write_label_value(out, labels[i]);
        fputc('"', out);
        before = ',';
        name += len + (name[len] == 0 ? 0 : 1);
    }
    if (le != NULL) {
        fprintf(out, "%cle=\"%s\"", before, le);
        before = ',';
    }
    fputs(before == ',' ? "} " : " ", out);
}

void metric_count(struct metric_text *t, enum metric_id id, const char *const *labels,
                  uint64_t value)
{
    FILE *out = lines_of(t, id);

    if (out == NULL)
        return;
    write_series(out, id, "", labels, NULL);
    fprintf(out, "%llu\n", (unsigned long long)value);
}

void metric_number(struct metric_text *t, enum metric_id id, const char *const *labels,
                   double value)
{
    FILE *out = lines_of(t, id);

    if (out == NULL)
        return;
    write_series(out, id, "", labels, NULL);
    fprintf(out, "%.15g\n", value);
}

static double seconds(uint64_t us)
{
    return (double)us / 1e6;
}

void metric_histogram(struct metric_text *t, enum metric_id id, const char *const *labels,
                      const struct histogram_sum *value)
{
    FILE *out = lines_of(t, id);
    uint64_t below = 0;
    char le[32];

    if (out == NULL)
        return;
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        below += value->buckets[i];
        snprintf(le, sizeof(le), "%g", seconds(histogram_bound_us(i)));
        write_series(out, id, "_bucket", labels, le);
        fprintf(out, "%llu\n", (unsigned long long)below);
    }
    write_series(out, id, "_bucket", labels, "+Inf");
    fprintf(out, "%llu\n", (unsigned long long)value->count);
    write_series(out, id, "_sum", labels, NULL);
    fprintf(out, "%.15g\n", seconds(value->sum_us));
    write_series(out, id, "_count", labels, NULL);
    fprintf(out, "%llu\n", (unsigned long long)value->count);
}

static enum err close_lines(struct lines *l)
{
    int failed = fclose(l->file);

    l->file = NULL;
    return failed != 0 || l->text == NULL ? ERR_NOMEM : ERR_OK;
}

enum err metric_text_finish(struct metric_text *t, char **out, size_t *len)
{
    FILE *page = open_memstream(out, len);

    if (page == NULL) {
        *out = NULL;
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < METRIC_COUNT && t->error == ERR_OK; i++) {
        const struct metric_row *row = metric_table_row((enum metric_id)i);
        struct lines *l = &t->metrics[i];

        if (l->file == NULL)
            continue;
        t->error = close_lines(l);
        if (t->error != ERR_OK)
            break;
        fprintf(page, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
                metric_type_name(row->type));
        fwrite(l->text, 1, l->len, page);
    }
    if (fclose(page) != 0)
        t->error = ERR_NOMEM;
    if (t->error != ERR_OK) {
        free(*out);
        *out = NULL;
    }
    return t->error;
}
