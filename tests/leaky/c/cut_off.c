/* Connections to a host that is cut off: a FIN that nobody acknowledges. */
#define _GNU_SOURCE
#include "leaky.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const char SERVER[] = "10.77.0.2";

static struct sockaddr_in server_address(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    inet_pton(AF_INET, SERVER, &address.sin_addr);
    return address;
}

/* Waits for each client's end, and ends its own side. */
static int run_server(const struct options *o)
{
    double end = now() + o->seconds;
    struct sockaddr_in address = server_address(0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        die("listen");
    printf("listening %d\n", port_of(listener));
    int *fds = calloc((size_t)o->count, sizeof(int));
    for (int i = 0; i < o->count; i++)
        fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (int i = 0; i < o->count; i++) {
        read_to_end(fds[i]);
        shutdown(fds[i], SHUT_WR);
    }
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}

/* Connects, lets the test cut the cable, shuts one half down and closes the other half. */
int run_cut_off(const struct options *o)
{
    if (o->way)
        return run_server(o);
    double end = now() + o->seconds;
    struct sockaddr_in address = server_address(o->port);
    int *fds = calloc((size_t)o->count, sizeof(int));
    for (int i = 0; i < o->count; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fds[i], (struct sockaddr *)&address, sizeof address))
            die("connect");
    }
    printf("connected %d\n", o->count);
    sleep_until(now() + 2);
    for (int i = 0; i < o->count; i++)
        if (i % 2)
            close(fds[i]);
        else
            shutdown(fds[i], SHUT_WR);
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}
