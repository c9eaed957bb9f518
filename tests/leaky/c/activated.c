/* Services that a service manager starts by socket activation: it hands over descriptor 3, without close-on-exec. */
#define _GNU_SOURCE
#include "leaky.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FIRST_PASSED 3

static OWN_FRAME int activated_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, 0); /* LINE: activated accepted */
    if (fd < 0)
        die("accept");
    return fd;
}

static OWN_FRAME void activated_read(int fd)
{
    read_to_end(fd); /* LINE: activated read */
}

static OWN_FRAME void activated_close(int fd)
{
    close(fd); /* LINE: activated closed */
}

static int passed_descriptor(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || atoi(pid) != getpid() || atoi(count) != 1)
        die("not activated with one descriptor");
    return FIRST_PASSED;
}

/* Has copies of everything, and does nothing with them. */
static void start_helper(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    printf("helper %d of %d\n", pid, getpid());
}

/* A listener: takes so many, reads each to its end, and forgets it; the others stay in the queue. */
static void serve_listener(int listener, int count)
{
    for (int i = 0; i < count; i++)
        activated_read(activated_accept(listener));
    start_helper();
}

/* One connection: a helper inherits it, and outlives the close. */
static void serve_connection(int connection)
{
    activated_read(connection);
    start_helper();
    let_them_look();
    activated_close(connection);
}

int run_activated(const struct options *o)
{
    double end = now() + o->seconds;
    int passed = passed_descriptor();
    if (strcmp(o->way, "listener") == 0)
        serve_listener(passed, o->count);
    else
        serve_connection(passed);
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}
