/* Connections that both sides have ended, and whose sockets are kept. */
#define _GNU_SOURCE
#include "leaky.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static OWN_FRAME void ended_shutdown(int fd, int how)
{
    shutdown(fd, how); /* LINE: ended touched */
}

/* Either side may be the first. */
static void end(int fd, int peer, const char *way)
{
    if (strcmp(way, "first") == 0) {
        ended_shutdown(fd, SHUT_WR);
        close(peer);
        read_to_end(fd);
    } else if (strcmp(way, "second") == 0) {
        close(peer);
        read_to_end(fd);
        ended_shutdown(fd, SHUT_RDWR);
    } else {
        ended_shutdown(fd, SHUT_WR);
        reset(peer);
    }
}

int run_ended(const struct options *o)
{
    double until = now() + o->seconds;
    socklen_t length;
    int listener = listen_on(o->family, 0), *fds = calloc((size_t)o->count, sizeof(int));
    struct sockaddr_storage here = loopback(o->family, port_of(listener), &length);
    for (int i = 0; i < o->count; i++) {
        int peer = dial(&here, length);
        fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        end(fds[i], peer, o->way);
    }
    if (!wait_for_state(fds, o->count, TCP_CLOSE, now() + 10))
        die("not over");
    printf("ready %d\n", o->count);
    sleep_until(until);
    return 0;
}
