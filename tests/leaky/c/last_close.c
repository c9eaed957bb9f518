/* Sockets that are forgotten, and on SIGUSR1 lose their last descriptor in one known way. */
#define _GNU_SOURCE
#include "leaky.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void by_close(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

static void by_range(const int *fds, int count)
{
    if (syscall(SYS_close_range, (unsigned)fds[0], (unsigned)fds[count - 1], 0))
        die("close_range");
}

static void by_replacement(const int *fds, int count)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < count; i++)
        if (dup2(null, fds[i]) < 0)
            die("dup2");
}

/* Close-on-exec, with another program in the same process. */
static void by_exec(const int *fds, int count)
{
    (void)fds, (void)count;
    execlp("sleep", "sleep", "60", NULL);
    die("exec");
}

static void by_exit(const int *fds, int count)
{
    (void)fds, (void)count;
    _exit(0);
}

static const struct {
    const char *name;
    void (*end)(const int *fds, int count);
} WAYS_TO_END[] = {
    { "close", by_close }, { "close_range", by_range },     { "dup2", by_replacement },
    { "exec", by_exec },   { "io_uring", uring_close_all }, { "exit", by_exit },
};

int run_last_close(const struct options *o)
{
    double end = now() + o->seconds;
    void (*end_all)(const int *, int) = NULL;
    for (size_t i = 0; i < sizeof WAYS_TO_END / sizeof *WAYS_TO_END; i++)
        if (strcmp(o->way, WAYS_TO_END[i].name) == 0)
            end_all = WAYS_TO_END[i].end;
    if (!end_all) {
        fprintf(stderr, "leaky: last_close needs --way close, close_range, dup2, exec, io_uring or exit\n");
        return 2;
    }
    sigset_t order;
    sigemptyset(&order);
    sigaddset(&order, SIGUSR1);
    sigprocmask(SIG_BLOCK, &order, NULL);
    int listener = listen_on(o->family, o->port), signal;
    socklen_t length;
    struct sockaddr_storage server = loopback(o->family, port_of(listener), &length);
    if (fork_peer() == 0) {
        for (int i = 0; i < o->count; i++)
            close(dial(&server, length));
        _exit(0);
    }
    int *fds = calloc((size_t)o->count, sizeof(int));
    for (int i = 0; i < o->count; i++) {
        fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fds[i] < 0)
            die("accept");
        read_to_end(fds[i]);
    }
    printf("ready %d\n", o->count);
    sigwait(&order, &signal);
    end_all(fds, o->count);
    sleep_until(end);
    return 0;
}
