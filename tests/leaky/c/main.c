/* Programs that leak sockets in one known way each, and always end by themselves. */
#define _GNU_SOURCE
#include "leaky.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void allow_all_descriptors(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct options options = parse_options(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    allow_all_descriptors();
    alarm((unsigned)options.seconds + 10); /* whatever hangs: the end */

    const struct way *way = find_way(options.command);
    if (way)
        return run_holder(way, &options);
    if (strcmp(options.command, "peer") == 0 && options.way && find_way(options.way))
        return run_peer(&options);
    if (strcmp(options.command, "hog") == 0)
        return run_hog(&options);
    if (strcmp(options.command, "churn") == 0)
        return run_churn(&options);
    if (strcmp(options.command, "pool") == 0)
        return run_pool(&options);
    if (strcmp(options.command, "stream") == 0)
        return run_stream(&options);
    if (strcmp(options.command, "activated") == 0 && options.way)
        return run_activated(&options);
    if (strcmp(options.command, "aborts") == 0 && options.way)
        return run_aborts(&options);
    if (strcmp(options.command, "crossing") == 0 && options.way)
        return run_crossing(&options);
    if (strcmp(options.command, "crowd") == 0)
        return run_crowd(&options);
    if (strcmp(options.command, "cut_off") == 0)
        return run_cut_off(&options);
    if (strcmp(options.command, "ended") == 0 && options.way)
        return run_ended(&options);
    if (strcmp(options.command, "exhausted") == 0)
        return run_exhausted(&options);
    if (strcmp(options.command, "failed") == 0 && options.way)
        return run_failed(&options);
    if (strcmp(options.command, "generated") == 0)
        return run_generated(&options);
    if (strcmp(options.command, "hands") == 0 && options.way)
        return run_hands(&options);
    if (strcmp(options.command, "interrupted") == 0 && options.way)
        return run_interrupted(&options);
    if (strcmp(options.command, "shared") == 0)
        return run_shared(&options);
    if (strcmp(options.command, "again") == 0 && options.way)
        return run_again(&options);
    if (strcmp(options.command, "spins") == 0 && options.way)
        return run_spins(&options);
    if (strcmp(options.command, "last_close") == 0 && options.way)
        return run_last_close(&options);
    if (strcmp(options.command, "queue") == 0)
        return run_queue(&options);
    if (strcmp(options.command, "uring") == 0)
        return run_uring(&options);
    fprintf(stderr, "leaky: no way or load is called %s\n", options.command);
    return 2;
}
