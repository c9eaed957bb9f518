/* A server that leaks until no descriptor is left, and a client that does. */
#define _GNU_SOURCE
#include "leaky.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Clients that come at the given rate, ask and give up. */
static void give_up(const struct sockaddr_storage *server, socklen_t length, const struct options *o)
{
    double next = now();
    for (int i = 0; i < o->count; i++) {
        if (o->rate > 0)
            sleep_until(next += 1 / o->rate);
        int fd = dial(server, length);
        send_text(fd, "ping");
        close(fd);
    }
}

/* Accepts up to --processes descriptors (the limit), reads to the end and forgets; then goes on
 * trying, 20 times a second. */
int run_exhausted(const struct options *o)
{
    struct rlimit limit = { .rlim_cur = (rlim_t)o->processes, .rlim_max = (rlim_t)o->processes };
    if (setrlimit(RLIMIT_NOFILE, &limit))
        die("setrlimit");
    int listener = listen_on(o->family, o->port);
    socklen_t length;
    struct sockaddr_storage server = loopback(o->family, port_of(listener), &length);
    printf("listening %d\n", port_of(listener));
    if (fork_peer() == 0) {
        close(listener);
        give_up(&server, length, o);
        _exit(0);
    }
    int held = 0, failed = 0;
    for (double end = now() + o->seconds; now() < end;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            read_to_end(fd);
            held++;
            continue;
        }
        if (errno != EMFILE)
            die("accept");
        if (socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 || errno != EMFILE)
            die("socket");
        if (++failed == 10)
            printf("ready %d\n", held);
        usleep(50000);
    }
    return 0;
}
