/* A large host: so many descriptors, none of them a socket, and so many processes and threads that sleep. */
#define _GNU_SOURCE
#include "leaky.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define STACK 4096
/* Descriptors that are open anyway. */
#define SPARE 64

static int rest(void *unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        pause();
    return unused != NULL;
}

/* They share this one's memory, so that what they cost is the kernel's part. */
static void start_tasks(int count, int flags)
{
    char *stacks = malloc((size_t)count * STACK + 1);
    for (int i = 0; i < count; i++)
        if (clone(rest, stacks + (size_t)(i + 1) * STACK, CLONE_VM | flags, NULL) < 0)
            die("clone");
}

static void hold_descriptors(int count, int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < count; i++)
        if (dup(null) < 0)
            die("dup");
    if (write(report, "x", 1) != 1)
        die("report");
    for (;;)
        pause();
}

/* --count descriptors in all, in as few processes as their limit allows; --processes and --idle-threads. */
int run_crowd(const struct options *o)
{
    double end = now() + o->seconds;
    int reports[2], holders = 0;
    struct rlimit limit;
    if (pipe(reports) || getrlimit(RLIMIT_NOFILE, &limit))
        die("pipe");
    int room = limit.rlim_cur < (rlim_t)o->count + SPARE ? (int)limit.rlim_cur - SPARE : o->count;
    for (int left = o->count; left > 0; left -= room, holders++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            hold_descriptors(left < room ? left : room, reports[1]);
    }
    close(reports[1]);
    char byte;
    for (int i = 0; i < holders; i++)
        if (read(reports[0], &byte, 1) != 1) {
            fprintf(stderr, "leaky: a holder failed\n");
            return 1;
        }
    start_tasks(o->processes, SIGCHLD);
    start_tasks(o->idle_threads, CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM);
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}
