/*
 * The other end, in a process of its own, so that every socket of the holder's PID is one that
 * it leaks. Against a server it connects; against a client it accepts on its standard input.
 */
#define _GNU_SOURCE
#include "leaky.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

pid_t start_peer(const struct options *o, int port, int listener)
{
    char count[16], rate[32], seconds[32], port_text[16];
    snprintf(count, sizeof count, "%d", o->count);
    snprintf(rate, sizeof rate, "%f", o->rate);
    snprintf(seconds, sizeof seconds, "%f", o->seconds + 5);
    snprintf(port_text, sizeof port_text, "%d", port);
    const char *family = o->family == FAMILY_6 ? "6" : "4"; /* a v4-mapped server is reached by IPv4 */
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (listener >= 0)
        dup2(listener, STDIN_FILENO);
    execl("/proc/self/exe", "leaky", "peer", "--way", o->command, "--count", count, "--rate", rate, "--for", seconds,
          "--port", port_text, "--family", family, "--comm", "leaky-peer", o->healthy ? "--healthy" : NULL, NULL);
    die("exec");
}

/* What the peer of a server does on one connection. */
static void converse(int fd, const struct options *o)
{
    send_text(fd, "ping");
    if (strcmp(o->way, "half_close") == 0) {
        if (!o->healthy)
            return; /* silent, and holding on */
        read_to_end(fd);
        close(fd);
        return;
    }
    if (strcmp(o->way, "never_read") == 0) {
        read_exactly(fd, 4);
        send_text(fd, "more");
    }
    if (strcmp(o->way, "reset_forget") == 0) {
        read_exactly(fd, 4);
        reset(fd);
        return;
    }
    close(fd);
}

static void serve(int fd, const struct options *o)
{
    if (strcmp(o->way, "client_forget") == 0)
        send_text(fd, "hello");
    else if (!o->healthy)
        return; /* client_half_close: silent, and holding on */
    else
        read_to_end(fd);
    close(fd);
}

int run_peer(const struct options *o)
{
    double end = now() + o->seconds, next = now();
    bool dialling = find_way(o->way)->accept != NULL;
    socklen_t length;
    struct sockaddr_storage server = loopback(o->family, o->port, &length);
    for (int i = 0; i < o->count; i++) {
        if (!dialling) {
            serve(accept4(STDIN_FILENO, NULL, NULL, SOCK_CLOEXEC), o);
            continue;
        }
        if (o->rate > 0) {
            sleep_until(next);
            next += 1 / o->rate;
        }
        converse(dial_one_of_many(&server, length, i), o);
    }
    sleep_until(end);
    return 0;
}
