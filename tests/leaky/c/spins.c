/* Loops around connections that are over, and loops that only look like it. */
#define _GNU_SOURCE
#include "leaky.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static int epoll;

static OWN_FRAME int spin_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: spins opened */
    if (fd < 0)
        die("accept");
    return fd;
}

static OWN_FRAME void spin_read(int fd)
{
    char rest[16];
    if (read(fd, rest, sizeof rest) < 0) /* LINE: spins read */
        die("read");
}

static OWN_FRAME void spin_poll(int timeout)
{
    struct epoll_event events[16];
    if (epoll_wait(epoll, events, 16, timeout) < 0) /* LINE: spins polled */
        die("epoll_wait");
}

static void watch(int fd, unsigned events)
{
    struct epoll_event wanted = { .events = events, .data.fd = fd };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted))
        die("EPOLL_CTL_ADD");
}

/* Ends all but its last connection, and answers on that. */
static void behave_as_peer(const struct sockaddr_storage *server, socklen_t length, const struct options *o)
{
    for (int i = 0; i < o->count; i++)
        close(dial(server, length));
    int fd = dial(server, length);
    char byte;
    while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
        ;
    pause();
}

/* One request and its answer. */
static void work(int fd)
{
    char byte = 'x';
    if (send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
        die("work");
}

static void turn(const struct options *o, const int *fds, int live)
{
    if (strcmp(o->way, "read") == 0 || strcmp(o->way, "seldom") == 0) {
        for (int i = 0; i < o->count; i++)
            spin_read(fds[i]);
        if (strcmp(o->way, "seldom") == 0)
            usleep(50000);
    } else if (strcmp(o->way, "told") == 0) {
        spin_poll(-1);
    } else {
        spin_poll(0);
        if (strcmp(o->way, "busy") == 0)
            work(live);
        if (strcmp(o->way, "rests") == 0)
            usleep(500);
    }
}

int run_spins(const struct options *o)
{
    double end = now() + o->seconds;
    int listener = listen_on(o->family, o->port), *fds = calloc((size_t)o->count, sizeof(int));
    socklen_t length;
    struct sockaddr_storage server = loopback(o->family, port_of(listener), &length);
    if (fork_peer() == 0) {
        close(listener);
        behave_as_peer(&server, length, o);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < o->count; i++)
        fds[i] = spin_accept(listener);
    int live = spin_accept(listener);
    if (!wait_for_state(fds, o->count, TCP_CLOSE_WAIT, now() + 10))
        die("the peer does not close");
    bool is_watched = strcmp(o->way, "elsewhere") != 0;
    for (int i = 0; i < o->count && is_watched; i++)
        watch(fds[i], strcmp(o->way, "told") == 0 ? EPOLLIN | EPOLLRDHUP : EPOLLIN | EPOLLET);
    watch(live, EPOLLIN | EPOLLET);
    printf("ready %d\n", o->count);
    while (now() < end)
        turn(o, fds, live);
    return 0;
}
