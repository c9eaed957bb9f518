/* Sockets on the loopback, and what the kernel says of their state. */
#define _GNU_SOURCE
#include "leaky.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void die(const char *what)
{
    fprintf(stderr, "leaky: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Seconds on the monotonic clock. */
double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void sleep_until(double moment)
{
    struct timespec t = { .tv_sec = (time_t)moment };
    t.tv_nsec = (long)((moment - (double)t.tv_sec) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* Time for whoever watches to learn that this process has sockets: longer where the tests are patient. */
void let_them_look(void)
{
    const char *times = getenv("TLSCLOSE_TEST_PATIENCE");
    sleep_until(now() + 1.5 * (times ? atof(times) : 1));
}

/* The address to dial. */
struct sockaddr_storage loopback(enum family family, int port, socklen_t *length)
{
    struct sockaddr_storage address = { 0 };
    if (family == FAMILY_4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *length = sizeof *v4;
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        inet_pton(AF_INET6, family == FAMILY_6 ? "::1" : "::ffff:127.0.0.1", &v6->sin6_addr);
        *length = sizeof *v6;
    }
    return address;
}

/* Listens on the loopback; v4-mapped means an IPv6 socket on the wildcard that also takes IPv4. */
int listen_on(enum family family, int port)
{
    socklen_t length;
    struct sockaddr_storage address = loopback(family, port, &length);
    if (family == FAMILY_MAPPED)
        ((struct sockaddr_in6 *)&address)->sin6_addr = in6addr_any;
    int fd = new_socket(&address);
    int no = 0, yes = 1;
    if (family == FAMILY_MAPPED)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, length) || listen(fd, 4096))
        die("listen");
    return fd;
}

int port_of(int fd)
{
    struct sockaddr_in6 address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length))
        die("getsockname");
    return ntohs(address.sin6_port); /* at the same place in sockaddr_in */
}

int new_socket(const struct sockaddr_storage *address)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    return fd;
}

int dial(const struct sockaddr_storage *address, socklen_t length)
{
    int fd = new_socket(address);
    if (connect(fd, (const struct sockaddr *)address, length))
        die("connect");
    return fd;
}

/*
 * One of very many connections. Each 10,000 have an address of their own: a port that the kernel gives out again would
 * hit the connection that the other end may still hold, and reset it.
 */
int dial_one_of_many(const struct sockaddr_storage *server, socklen_t length, long number)
{
    int fd = new_socket(server), yes = 1;
    struct sockaddr_in from = { .sin_family = AF_INET };
    from.sin_addr.s_addr = htonl(number < 10000 ? INADDR_LOOPBACK : 0x7f010000u + (uint32_t)(number / 10000));
    if (server->ss_family == AF_INET) {
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
        if (bind(fd, (struct sockaddr *)&from, sizeof from))
            die("bind");
    }
    if (connect(fd, (const struct sockaddr *)server, length))
        die("connect");
    return fd;
}

int tcp_state(int fd)
{
    struct tcp_info info;
    socklen_t length = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length))
        die("TCP_INFO");
    return info.tcpi_state;
}

bool wait_for_state(const int *fds, int count, int state, double until)
{
    for (int i = 0; i < count; i++)
        while (tcp_state(fds[i]) != state) {
            if (now() > until)
                return false;
            usleep(1000);
        }
    return true;
}

void read_exactly(int fd, int bytes)
{
    char buffer[64];
    while (bytes > 0) {
        ssize_t got = read(fd, buffer, (size_t)bytes);
        if (got <= 0)
            die("read");
        bytes -= (int)got;
    }
}

void read_to_end(int fd)
{
    char buffer[4096];
    while (read(fd, buffer, sizeof buffer) > 0)
        ;
}

void send_text(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        die("send");
}

/* Closes with a RST. */
void reset(int fd)
{
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

/* Goes on when it gets SIGUSR1, which is blocked. */
void wait_for_signal(void)
{
    sigset_t usr1;
    int which;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigwait(&usr1, &which);
}
