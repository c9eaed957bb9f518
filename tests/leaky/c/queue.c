/* Listeners that take one connection and then leave all others in their accept queues. */
#define _GNU_SOURCE
#include "leaky.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

static OWN_FRAME int queue_listen(const struct sockaddr_storage *address, socklen_t length)
{
    int yes = 1;
    int listener = new_socket(address);
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) ||
        bind(listener, (const struct sockaddr *)address, length))
        die("bind");
    if (listen(listener, 100)) /* LINE: queue opened */
        die("listen");
    return listener;
}

static OWN_FRAME int queue_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: queue touched */
    if (fd < 0)
        die("accept");
    return fd;
}

/* Connections that wait in all queues. */
static int waiting(const int *listeners, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++) {
        struct tcp_info info;
        socklen_t length = sizeof info;
        if (getsockopt(listeners[i], IPPROTO_TCP, TCP_INFO, &info, &length))
            die("TCP_INFO");
        sum += (int)info.tcpi_unacked;
    }
    return sum;
}

static void give_up(const struct sockaddr_storage *server, socklen_t length, int count)
{
    for (int i = 0; i < count; i++) {
        int fd = dial(server, length);
        send_text(fd, "ping");
        close(fd);
    }
}

/* Processes that hold the listeners, too, and do nothing. */
static void start_workers(int workers)
{
    for (int i = 0; i < workers; i++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
}

static int take_all(const int *listeners, int count)
{
    int taken = 0;
    for (int i = 0; i < count; i++)
        for (struct pollfd queue = { .fd = listeners[i], .events = POLLIN }; poll(&queue, 1, 0) > 0; taken++)
            close(queue_accept(listeners[i]));
    return taken;
}

/* With --threads N, an SO_REUSEPORT group of N; with --processes N, N processes that share it. */
int run_queue(const struct options *o)
{
    int group = o->threads > 0 ? o->threads : 1;
    int *listeners = calloc((size_t)group, sizeof(int));
    socklen_t length;
    struct sockaddr_storage server = loopback(o->family, o->port, &length);
    listeners[0] = queue_listen(&server, length);
    server = loopback(o->family, port_of(listeners[0]), &length);
    printf("listening %d\n", port_of(listeners[0]));
    int first = dial(&server, length);
    int accepted = queue_accept(listeners[0]);
    close(first);
    close(accepted);
    for (int i = 1; i < group; i++)
        listeners[i] = queue_listen(&server, length);
    if (fork_peer() == 0) {
        for (int i = 0; i < group; i++)
            close(listeners[i]);
        give_up(&server, length, o->count);
        _exit(0);
    }
    start_workers(o->processes - 1);
    while (waiting(listeners, group) < o->count)
        usleep(10000);
    double end = now() + o->seconds;
    printf("ready %d\n", o->count);
    if (o->recover_after > 0) {
        sleep_until(now() + o->recover_after);
        printf("recovered %d\n", take_all(listeners, group));
    }
    sleep_until(end);
    return 0;
}
