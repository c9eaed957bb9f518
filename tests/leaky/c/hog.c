/*
 * N processes that each hold M sockets in CLOSE_WAIT: what a census, a scrape and `ss` have to
 * cope with.
 */
#define _GNU_SOURCE
#include "leaky.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PORTS_PER_ADDRESS 8000

/*
 * Connects and closes, each time from an address and port not used before: a port that the kernel
 * gives out again would hit the connection that the holder still has.
 */
static void dial_all(int port, int holder, int count)
{
    socklen_t length;
    struct sockaddr_storage server = loopback(FAMILY_4, port, &length);
    int yes = 1;
    for (int i = 0; i < count; i++) {
        struct sockaddr_in from = { .sin_family = AF_INET, .sin_port = htons((uint16_t)(20000 + i % PORTS_PER_ADDRESS)) };
        from.sin_addr.s_addr = htonl(0x7f000002u + ((uint32_t)(holder + 1) << 16) + (uint32_t)(i / PORTS_PER_ADDRESS));
        int fd = new_socket(&server);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, (struct sockaddr *)&from, sizeof from))
            die("bind");
        if (connect(fd, (struct sockaddr *)&server, length))
            die("connect");
        close(fd);
    }
}

static void hold(int holder, const struct options *o, int report)
{
    double end = now() + o->seconds;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int *fds = calloc((size_t)o->count, sizeof(int));
    int listener = listen_on(FAMILY_4, 0);
    int port = port_of(listener);
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "leaky-peer");
        close(listener);
        dial_all(port, holder, o->count);
        _exit(0);
    }
    for (int i = 0; i < o->count; i++) {
        fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: hog opened */
        if (fds[i] < 0)
            die("accept");
        read_to_end(fds[i]);
    }
    if (!wait_for_state(fds, o->count, TCP_CLOSE_WAIT, end))
        die("not all sockets reached CLOSE_WAIT");
    if (write(report, "x", 1) != 1)
        die("report");
    sleep_until(end);
    _exit(0);
}

int run_hog(const struct options *o)
{
    int reports[2];
    if (pipe(reports))
        die("pipe");
    for (int i = 0; i < o->processes; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0)
            hold(i, o, reports[1]);
        printf("holder %d\n", pid);
    }
    close(reports[1]);
    double end = now() + o->seconds;
    char byte;
    for (int i = 0; i < o->processes; i++)
        if (read(reports[0], &byte, 1) != 1) {
            fprintf(stderr, "leaky: a holder failed\n");
            return 1;
        }
    printf("ready %d\n", o->processes * o->count);
    sleep_until(end);
    return 0;
}
