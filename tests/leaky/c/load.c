/* Loads that leak nothing: a churn of every kind of goodbye, a pool that recycles, a long response. */
#define _GNU_SOURCE
#include "leaky.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Forks the other end. Returns 0 there. */
pid_t fork_peer(void)
{
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "leaky-peer");
    } else {
        printf("peer %d\n", pid);
    }
    return pid;
}

/* Every goodbye there is, one after the other. The first byte says which. */
enum goodbye { CLIENT_FIRST = 'c', SERVER_FIRST = 's', RESET = 'r', HALF_CLOSE = 'h', NO_MORE = 'x' };

static void churn_server(int listener)
{
    for (;;) {
        char goodbye = 0;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            die("accept");
        bool told = read(fd, &goodbye, 1) == 1;
        if (told && goodbye == NO_MORE)
            return;
        if (goodbye != SERVER_FIRST)
            read_to_end(fd);
        close(fd);
    }
}

static void churn_client(const struct sockaddr_storage *server, socklen_t length, long i, char goodbye)
{
    int fd = dial_one_of_many(server, length, i);
    if (send(fd, &goodbye, 1, MSG_NOSIGNAL) != 1)
        die("send");
    if (goodbye == RESET) {
        reset(fd);
        return;
    }
    if (goodbye == HALF_CLOSE)
        shutdown(fd, SHUT_WR);
    if (goodbye == HALF_CLOSE || goodbye == SERVER_FIRST)
        read_to_end(fd);
    close(fd);
}

int run_churn(const struct options *o)
{
    static const char GOODBYES[] = { CLIENT_FIRST, SERVER_FIRST, RESET, HALF_CLOSE };
    int listener = listen_on(FAMILY_4, o->port);
    socklen_t length;
    struct sockaddr_storage server = loopback(FAMILY_4, port_of(listener), &length);
    pid_t peer = fork_peer();
    if (peer == 0) {
        churn_server(listener);
        _exit(0);
    }
    close(listener);
    printf("ready 0\n");
    long connections = 0;
    for (double end = now() + o->seconds; now() < end; connections++)
        churn_client(&server, length, connections, GOODBYES[connections % 4]);
    churn_client(&server, length, connections++, NO_MORE);
    waitpid(peer, NULL, 0);
    printf("connections %ld\n", connections);
    return 0;
}

/* Holds connections that their server has closed, and replaces the oldest from time to time. */
int run_pool(const struct options *o)
{
    int listener = listen_on(FAMILY_4, o->port);
    socklen_t length;
    struct sockaddr_storage server = loopback(FAMILY_4, port_of(listener), &length);
    if (fork_peer() == 0)
        for (;;)
            close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    close(listener);
    int *pool = calloc((size_t)o->count, sizeof(int));
    for (int i = 0; i < o->count; i++)
        pool[i] = dial(&server, length);
    printf("ready %d\n", o->count);
    double next = now();
    long replaced = 0;
    for (double end = now() + o->seconds; next < end; replaced++) {
        sleep_until(next += o->every);
        close(pool[replaced % o->count]);
        pool[replaced % o->count] = dial(&server, length);
    }
    printf("replaced %ld\n", replaced);
    return 0;
}

/* Clients that have ended their side and read on. */
static void stream_clients(const struct sockaddr_storage *server, socklen_t length, int count)
{
    struct pollfd *streams = calloc((size_t)count, sizeof *streams);
    for (int i = 0; i < count; i++) {
        int fd = dial(server, length);
        send_text(fd, "more");
        shutdown(fd, SHUT_WR);
        streams[i] = (struct pollfd){ .fd = fd, .events = POLLIN };
    }
    for (int open = count; open > 0 && poll(streams, (nfds_t)count, -1) > 0;)
        for (int i = 0; i < count; i++) {
            char buffer[4096];
            if (!streams[i].revents || read(streams[i].fd, buffer, sizeof buffer) > 0)
                continue;
            close(streams[i].fd);
            streams[i].fd = -1;
            open--;
        }
}

int run_stream(const struct options *o)
{
    int listener = listen_on(FAMILY_4, o->port);
    socklen_t length;
    struct sockaddr_storage server = loopback(FAMILY_4, port_of(listener), &length);
    if (fork_peer() == 0) {
        close(listener);
        stream_clients(&server, length, o->count);
        _exit(0);
    }
    int *streams = calloc((size_t)o->count, sizeof(int));
    for (int i = 0; i < o->count; i++) {
        streams[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (streams[i] < 0)
            die("accept");
        read_to_end(streams[i]);
    }
    printf("ready %d\n", o->count);
    double next = now();
    for (double end = now() + o->seconds; next < end;) {
        for (int i = 0; i < o->count; i++)
            send_text(streams[i], "a line of a long response\n");
        sleep_until(next += 0.1);
    }
    for (int i = 0; i < o->count; i++)
        close(streams[i]);
    return 0;
}
