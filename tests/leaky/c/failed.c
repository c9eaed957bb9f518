/* Connects where nobody listens, and keeps the sockets. */
#define _GNU_SOURCE
#include "leaky.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The kernel takes such a socket's port away when the call fails. */
static OWN_FRAME int failed_connect(int fd, const struct sockaddr_storage *to, socklen_t length)
{
    return connect(fd, (const struct sockaddr *)to, length); /* LINE: failed opened */
}

static int failure_of(int fd)
{
    struct pollfd one = { .fd = fd, .events = POLLOUT };
    int error = 0;
    socklen_t length = sizeof error;
    if (poll(&one, 1, 5000) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length))
        die("poll");
    return error;
}

static int try_one(const struct sockaddr_storage *to, socklen_t length, bool is_polled)
{
    int fd = new_socket(to);
    if (is_polled)
        fcntl(fd, F_SETFL, O_NONBLOCK);
    int failed = failed_connect(fd, to, length);
    int error = failed ? errno : 0;
    if (error == EINPROGRESS)
        error = failure_of(fd);
    if (error != ECONNREFUSED)
        die("not refused");
    return fd;
}

int run_failed(const struct options *o)
{
    double end = now() + o->seconds;
    socklen_t length;
    int listener = listen_on(o->family, 0);
    struct sockaddr_storage nobody = loopback(o->family, port_of(listener), &length);
    printf("listening %d\n", port_of(listener));
    close(listener);
    for (int i = 0; i < o->count; i++) {
        try_one(&nobody, length, strcmp(o->way, "polled") == 0);
        /* Every second one is closed, as it should be. */
        close(try_one(&nobody, length, false));
    }
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}
