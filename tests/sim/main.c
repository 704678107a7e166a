/*
 * Runs many seeds in child processes: whatever ends one of them, be it a check of the simulation,
 * an assertion of the engine, a sanitizer or a loop without an end, the parent knows the seed and
 * prints the line that replays it.
 *
 *   sim [--first N] [--seeds N] [--jobs N]     many runs, in so many processes at a time
 *   sim --seed N                               one, again, in this process, with a report
 */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

#define JOBS_MAX 256
/* Far more than the longest run takes, under sanitizers and on a busy machine, too. */
#define SEED_SECONDS 300

struct options {
    uint64_t seed; /* 0: many */
    uint64_t first;
    uint64_t seeds;
    uint64_t jobs;
};

/* What a child tells its parent while it runs. */
struct progress {
    volatile uint64_t seed; /* 0: all are done */
};

__attribute__((noreturn)) static void usage(void)
{
    fputs("usage: sim [--first N] [--seeds N] [--jobs N] | --seed N\n", stderr);
    exit(2);
}

static void parse(int argc, char **argv, struct options *o)
{
    const struct {
        const char *name;
        uint64_t *value;
    } known[] = {
        {"--seed", &o->seed},
        {"--first", &o->first},
        {"--seeds", &o->seeds},
        {"--jobs", &o->jobs},
    };

    *o = (struct options){.first = 1, .seeds = 2000, .jobs = 1};
    for (int i = 1; i < argc; i += 2) {
        bool is_known = false;
        char *end = NULL;

        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]) && i + 1 < argc; k++) {
            if (strcmp(argv[i], known[k].name) == 0) {
                *known[k].value = strtoull(argv[i + 1], &end, 10);
                is_known = end != argv[i + 1] && *end == 0 && *known[k].value > 0;
            }
        }
        if (!is_known)
            usage();
    }
    if (o->jobs > JOBS_MAX)
        o->jobs = JOBS_MAX;
}

__attribute__((noreturn)) static void run_share(const struct options *o, uint64_t job,
                                                struct progress *p)
{
    for (uint64_t i = job; i < o->seeds; i += o->jobs) {
        p->seed = o->first + i;
        alarm(SEED_SECONDS);
        sim_run(p->seed);
    }
    alarm(0);
    p->seed = 0;
    exit(0); /* not _exit: leaks are looked for at the exit */
}

static void report_failure(const char *program, const struct progress *p, int status)
{
    if (WIFSIGNALED(status))
        fprintf(stderr, "sim: seed %" PRIu64 ": ended by signal %d (%s)\n", p->seed,
                WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (p->seed != 0)
        fprintf(stderr, "replay: %s --seed %" PRIu64 "\n", program, p->seed);
    else
        fprintf(stderr, "sim: no seed went wrong, but their process did, at its exit\n");
}

static int run_many(const char *program, const struct options *o)
{
    struct progress *progress;
    pid_t children[JOBS_MAX];
    bool is_good = true;

    progress = mmap(NULL, JOBS_MAX * sizeof(*progress), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) {
        perror("sim: mmap");
        return 1;
    }
    for (uint64_t job = 0; job < o->jobs; job++) {
        children[job] = fork();
        if (children[job] == 0)
            run_share(o, job, &progress[job]);
        if (children[job] < 0) {
            perror("sim: fork");
            return 1;
        }
    }
    for (uint64_t job = 0; job < o->jobs; job++) {
        int status;

        if (waitpid(children[job], &status, 0) != children[job]) {
            perror("sim: waitpid");
            return 1;
        }
        if (status != 0) {
            report_failure(program, &progress[job], status);
            is_good = false;
        }
    }
    munmap(progress, JOBS_MAX * sizeof(*progress));
    if (!is_good)
        return 1;
    printf("sim: %" PRIu64 " seeds from %" PRIu64 " on, all good\n", o->seeds, o->first);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o;

    parse(argc, argv, &o);
    if (o.seed != 0) {
        struct sim_result r = sim_run(o.seed);

        printf("seed %" PRIu64 ": %" PRIu64 " steps, %u streams, %u sessions, %u key exchanges, "
               "%u restarts, %" PRIu64 " records: good\n",
               o.seed, r.steps, r.streams, r.sessions, r.exchanges, r.restarts, r.records);
        return 0;
    }
    return run_many(argv[0], &o);
}
