/* The process under test: opens sockets, works on them, and forgets (or closes) them. */
#define _GNU_SOURCE
#include "leaky.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

static struct {
    const struct way *way;
    const struct options *options;
    int listener;
    double end;
    int *held;
    atomic_int taken, finished, done; /* connections taken, handled, and held */
} shared;

OWN_FRAME static void close_finished(int fd)
{
    int failed = close(fd); /* LINE: close_finished closed */
    if (failed)
        die("close");
}

static void finish(int fd)
{
    int finished = atomic_fetch_add(&shared.finished, 1) + 1;
    if (shared.options->healthy || finished % shared.options->leak_every != 0)
        close_finished(fd);
    else
        shared.held[atomic_fetch_add(&shared.done, 1)] = fd;
}

/* One handler: takes connections until all are taken or the time is over. */
OWN_FRAME static void *serve(void *unused)
{
    (void)unused;
    while (atomic_load(&shared.taken) < shared.options->count && now() < shared.end) {
        int fd = shared.way->accept(shared.listener);
        if (fd < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (fd < 0)
            die("accept");
        atomic_fetch_add(&shared.taken, 1);
        shared.way->handle(fd);
        finish(fd);
    }
    return NULL;
}

OWN_FRAME static void connect_all(int port)
{
    socklen_t length;
    struct sockaddr_storage server = loopback(shared.options->family, port, &length);
    double next = now();
    for (int i = 0; i < shared.options->count && now() < shared.end; i++) {
        if (shared.options->rate > 0) {
            sleep_until(next);
            next += 1 / shared.options->rate;
        }
        int fd = shared.way->connect(&server, length);
        shared.way->handle(fd);
        finish(fd);
    }
}

static void *idle(void *unused)
{
    sleep_until(shared.end);
    return unused;
}

static pthread_t start_thread(void *(*body)(void *), size_t stack)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack);
    errno = pthread_create(&thread, &attributes, body, NULL);
    if (errno)
        die("pthread_create");
    return thread;
}

OWN_FRAME static void serve_all(int threads)
{
    struct timeval patience = { .tv_usec = 200000 };
    setsockopt(shared.listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (threads == 0) {
        serve(NULL);
        return;
    }
    pthread_t handlers[threads];
    for (int i = 0; i < threads; i++)
        handlers[i] = start_thread(serve, 256 * 1024);
    for (int i = 0; i < threads; i++)
        pthread_join(handlers[i], NULL);
}

OWN_FRAME int run_holder(const struct way *way, const struct options *o)
{
    int port_family = o->family;
    if (way->connect && o->family == FAMILY_MAPPED)
        port_family = FAMILY_4; /* the client's own socket is the mapped one */
    shared.way = way;
    shared.options = o;
    shared.end = now() + o->seconds;
    shared.held = calloc((size_t)o->count + (size_t)o->threads, sizeof(int));
    shared.listener = listen_on((enum family)port_family, o->port);
    int port = port_of(shared.listener);
    printf("listening %d\n", port);
    for (int i = 0; i < o->idle_threads; i++)
        start_thread(idle, PTHREAD_STACK_MIN);
    printf("peer %d\n", start_peer(o, port, way->connect ? shared.listener : -1));
    if (way->connect) {
        close(shared.listener);
        connect_all(port);
    } else {
        serve_all(o->threads);
    }
    int done = atomic_load(&shared.done);
    if (!o->healthy && !wait_for_state(shared.held, done, way->final_state, shared.end))
        fprintf(stderr, "leaky: not all sockets reached state %d\n", way->final_state);
    else
        printf("ready %d\n", o->healthy ? atomic_load(&shared.finished) : done);
    if (o->recover_after > 0 && !o->healthy) {
        sleep_until(now() + o->recover_after);
        for (int i = 0; i < done; i++)
            close(shared.held[i]);
        printf("recovered\n");
    }
    sleep_until(shared.end);
    return 0;
}
