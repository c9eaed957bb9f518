/* Connections that end by a reset or an error, each in one known way, and are closed; or wait for a peer that is gone. */
#define _GNU_SOURCE
#include "leaky.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

static int listener;

static OWN_FRAME void abort_close(int fd)
{
    close(fd); /* LINE: aborts closed */
}

static OWN_FRAME void abort_disconnect(int fd)
{
    struct sockaddr nobody = { .sa_family = AF_UNSPEC };
    connect(fd, &nobody, sizeof nobody); /* LINE: aborts disconnected */
}

static void set_option(int fd, int level, int option, int value)
{
    if (setsockopt(fd, level, option, &value, sizeof value))
        die("setsockopt");
}

static void wait_for_events(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };
    while (poll(&one, 1, -1) < 0 && errno == EINTR)
        ;
}

/* Cuts off everybody in this network namespace. */
static void take_loopback_down(void)
{
    struct ifreq interface = { .ifr_name = "lo" };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(fd, SIOCGIFFLAGS, &interface))
        die("SIOCGIFFLAGS");
    interface.ifr_flags &= ~IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &interface))
        die("SIOCSIFFLAGS");
    close(fd);
}

/* What to do on each connection, before all of them are closed. */
static void prepare(int fd, const char *way)
{
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
    if (strcmp(way, "unread_data") == 0)
        wait_for_events(fd, POLLIN);
    else if (strcmp(way, "linger_zero") == 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    else if (strcmp(way, "linger2") == 0) {
        set_option(fd, IPPROTO_TCP, TCP_LINGER2, -1);
        shutdown(fd, SHUT_WR);
        wait_for_state(&fd, 1, TCP_FIN_WAIT2, now() + 10);
    } else if (strcmp(way, "peer_reset") == 0)
        send_text(fd, "accepted");
    else if (strcmp(way, "disconnect") == 0)
        abort_disconnect(fd);
    else if (strcmp(way, "keepalive_timeout") == 0) {
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 2);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 1);
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    } else if (strcmp(way, "probes_unanswered") == 0) {
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 2);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 100);
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    } else if (strcmp(way, "retransmission_timeout") == 0)
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 1000);
}

/* The program may have reset the connection before this process runs again: then connect() fails with that. */
static int dial_and_be_reset(const struct sockaddr_storage *server, socklen_t length)
{
    int fd = new_socket(server);
    if (connect(fd, (const struct sockaddr *)server, length) && errno != ECONNRESET)
        die("connect");
    return fd;
}

static void behave_as_peer(const struct sockaddr_storage *server, socklen_t length, const struct options *o)
{
    bool sends_first = strcmp(o->way, "unread_data") == 0;
    bool sends_last = strcmp(o->way, "data_after_close") == 0;
    bool resets = strcmp(o->way, "peer_reset") == 0;
    int *fds = calloc((size_t)o->count, sizeof(int));
    for (int i = 0; i < o->count; i++) {
        fds[i] = dial_and_be_reset(server, length);
        if (sends_first)
            send_text(fds[i], "ping");
    }
    for (int i = 0; i < o->count && (sends_last || resets); i++) {
        wait_for_events(fds[i], POLLIN); /* the program has closed, or accepted */
        if (resets)
            reset(fds[i]);
        else
            send_text(fds[i], "too late");
    }
    pause();
}

static void wait_for_queue(unsigned count)
{
    struct tcp_info info = { 0 };
    socklen_t length = sizeof info;
    while (info.tcpi_unacked < count) { /* of a listener: the length of its queue */
        usleep(1000);
        if (getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length))
            die("TCP_INFO");
    }
}

static OWN_FRAME int abort_accept(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: aborts opened */
    if (fd < 0)
        die("accept");
    return fd;
}

static void abort_all(const struct options *o)
{
    int *fds = calloc((size_t)o->count, sizeof(int));
    for (int i = 0; i < o->count; i++) {
        fds[i] = abort_accept();
        prepare(fds[i], o->way);
    }
    bool is_kept = strcmp(o->way, "unacknowledged") == 0 || strcmp(o->way, "probes_unanswered") == 0 ||
                   strcmp(o->way, "idle") == 0;
    bool sends = strcmp(o->way, "retransmission_timeout") == 0 || strcmp(o->way, "unacknowledged") == 0;
    bool is_cut = sends || strcmp(o->way, "keepalive_timeout") == 0 || strcmp(o->way, "probes_unanswered") == 0;
    if (is_cut)
        take_loopback_down();
    for (int i = 0; i < o->count && sends; i++)
        send_text(fds[i], "nobody hears");
    bool dies = is_cut || strcmp(o->way, "peer_reset") == 0 || strcmp(o->way, "destroyed") == 0;
    printf("connected %d\n", o->count);
    if (is_kept)
        return;
    for (int i = 0; i < o->count; i++) {
        if (dies)
            wait_for_events(fds[i], 0); /* POLLERR and POLLHUP */
        abort_close(fds[i]);
    }
}

static void *abort_in_thread(void *o)
{
    prctl(PR_SET_NAME, "leaky-thread");
    abort_all(o);
    return NULL;
}

int run_aborts(const struct options *o)
{
    double end = now() + o->seconds;
    listener = listen_on(o->family, o->port);
    socklen_t length;
    struct sockaddr_storage server = loopback(o->family, port_of(listener), &length);
    printf("listening %d\n", port_of(listener));
    if (fork_peer() == 0) {
        close(listener);
        behave_as_peer(&server, length, o);
    }
    if (strcmp(o->way, "listener_closed") == 0) {
        wait_for_queue((unsigned)o->count);
        abort_close(listener);
    } else if (o->threads > 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, abort_in_thread, (void *)o) || pthread_join(thread, NULL))
            die("thread");
    } else {
        abort_all(o);
    }
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}
