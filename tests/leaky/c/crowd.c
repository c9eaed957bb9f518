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
#define HOLDERS 10

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

/* --count descriptors in all, --processes and --idle-threads. */
int run_crowd(const struct options *o)
{
    int each = o->count / HOLDERS, reports[2];
    double end = now() + o->seconds;
    struct rlimit limit = { .rlim_cur = (rlim_t)each + 64, .rlim_max = (rlim_t)each + 64 };
    if (setrlimit(RLIMIT_NOFILE, &limit) || pipe(reports))
        die("RLIMIT_NOFILE");
    for (int i = 0; i < HOLDERS; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            hold_descriptors(each, reports[1]);
    }
    close(reports[1]);
    char byte;
    for (int i = 0; i < HOLDERS; i++)
        if (read(reports[0], &byte, 1) != 1) {
            fprintf(stderr, "leaky: a holder failed\n");
            return 1;
        }
    start_tasks(o->processes, SIGCHLD);
    start_tasks(o->idle_threads, CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM);
    printf("ready %d\n", each * HOLDERS);
    sleep_until(end);
    return 0;
}
