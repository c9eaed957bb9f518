/*
 * Closes sockets just while somebody walks all descriptors of the host, on another processor. Many processes share the
 * only table of descriptors, so that the walk meets the same few files again and again, and holds one of them at a time.
 */
#define _GNU_SOURCE
#include "leaky.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STACK 16384
/* How often this program looks whether the walk has begun, and the time between two closes then. */
#define LOOK_US 100
#define PACE 0.00015

static OWN_FRAME void crossing_close(int fd)
{
    close(fd); /* LINE: crossing closed */
}

static int share_table(void *unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        pause();
    return unused != NULL;
}

static void start_sharers(int count)
{
    for (int i = 0; i < count; i++) {
        char *stack = malloc(STACK);
        if (!stack || clone(share_table, stack + STACK, CLONE_VM | CLONE_FILES | SIGCHLD, NULL) < 0)
            die("clone");
    }
}

/* The other end: for each byte as many connections with unread data. */
static void dial_rounds(int orders, const struct sockaddr_storage *server, socklen_t length, int count)
{
    for (char order; read(orders, &order, 1) == 1;)
        for (int i = 0; i < count; i++) {
            int fd = dial(server, length);
            send_text(fd, "ping");
            close(fd);
        }
}

/* Before all others on that processor. */
static void run_first(int tid, int processor)
{
    cpu_set_t one;
    struct sched_param first = { .sched_priority = 1 };
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    if (sched_setaffinity(tid, sizeof one, &one) || sched_setscheduler(tid, SCHED_FIFO, &first))
        die("two processors are needed");
}

/* Until a thread runs, as /proc/TID/stat has it. */
static void wait_until_it_runs(int stat)
{
    char text[64], *state = NULL;
    do {
        usleep(LOOK_US);
        ssize_t length = pread(stat, text, sizeof text - 1, 0);
        if (length <= 0)
            die("stat");
        text[length] = 0;
        state = strrchr(text, ')');
    } while (!state || state[2] != 'R');
}

/* --way TID is the thread that walks. Each SIGUSR1 closes all, and opens as many again. */
int run_crossing(const struct options *o)
{
    int orders[2];
    char path[64];
    socklen_t length;
    sigset_t order;
    sigemptyset(&order);
    sigaddset(&order, SIGUSR1);
    sigprocmask(SIG_BLOCK, &order, NULL);
    int listener = listen_on(FAMILY_4, 0);
    struct sockaddr_storage server = loopback(FAMILY_4, port_of(listener), &length);
    if (pipe2(orders, O_CLOEXEC))
        die("pipe");
    if (fork_peer() == 0) {
        close(orders[1]);
        close(listener);
        dial_rounds(orders[0], &server, length, o->count);
        _exit(0);
    }
    close(orders[0]);
    snprintf(path, sizeof path, "/proc/%s/stat", o->way);
    int stat = open(path, O_RDONLY | O_CLOEXEC);
    if (stat < 0)
        die(path);
    start_sharers(o->processes);
    run_first(0, 0);
    run_first(atoi(o->way), 1);
    int *fds = calloc((size_t)o->count, sizeof(int));
    double end = now() + o->seconds;
    for (int round = 0; now() < end; round++) {
        if (write(orders[1], "x", 1) != 1)
            die("write");
        for (int i = 0; i < o->count; i++)
            fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (!wait_for_state(fds, o->count, TCP_CLOSE_WAIT, end))
            die("not all sockets reached CLOSE_WAIT");
        printf("round %d\n", round);
        int signal;
        sigwait(&order, &signal);
        wait_until_it_runs(stat);
        double next = now();
        for (int i = 0; i < o->count; i++, next += PACE) {
            while (now() < next)
                ;
            crossing_close(fds[i]);
        }
    }
    return 0;
}
