/*
 * Each way to leak: the code path that opens the socket and the one that last touches it.
 * Tests find the line numbers by the `LINE:` comments, so these may move but not leave their call.
 */
#define _GNU_SOURCE
#include "leaky.h"

#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The peer closes; we read until 0 and forget the socket. */

OWN_FRAME static int eof_forget_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: eof_forget opened */
    return fd;
}

OWN_FRAME static void eof_forget_handle(int fd)
{
    char buffer[512];
    ssize_t got;
    do
        got = recv(fd, buffer, sizeof buffer, 0); /* LINE: eof_forget touched */
    while (got > 0);
}

/* The same through functions that the compiler inlines. */

ALWAYS_INLINE int inlined_forget_open(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: inlined_forget opened */
}

OWN_FRAME static int inlined_forget_accept(int listener)
{
    int fd = inlined_forget_open(listener); /* LINE: inlined_forget opened caller */
    return fd;
}

ALWAYS_INLINE ssize_t inlined_forget_read(int fd)
{
    char buffer[512];
    return read(fd, buffer, sizeof buffer); /* LINE: inlined_forget touched */
}

OWN_FRAME static void inlined_forget_handle(int fd)
{
    ssize_t got;
    do
        got = inlined_forget_read(fd); /* LINE: inlined_forget touched caller */
    while (got > 0);
}

/* We answer one request and never read again; the peer sends more and closes. */

OWN_FRAME static int never_read_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: never_read opened */
    return fd;
}

OWN_FRAME static void never_read_handle(int fd)
{
    read_exactly(fd, 4);
    send_text(fd, "pong");
}

/* We end our side and wait for a peer that stays silent. */

OWN_FRAME static int half_close_accept(int listener)
{
    int fd = accept(listener, NULL, NULL); /* LINE: half_close opened */
    return fd;
}

OWN_FRAME static void half_close_handle(int fd)
{
    read_exactly(fd, 4);
    send_text(fd, "pong");
    shutdown(fd, SHUT_WR); /* LINE: half_close touched */
}

/* The peer resets; we see the error and forget the socket. */

OWN_FRAME static int reset_forget_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: reset_forget opened */
    return fd;
}

OWN_FRAME static void reset_forget_handle(int fd)
{
    char buffer[512];
    ssize_t got;
    read_exactly(fd, 4);
    send_text(fd, "pong");
    do
        got = read(fd, buffer, sizeof buffer); /* LINE: reset_forget touched */
    while (got > 0);
}

/* Client side: the server closes; we read until 0 and forget the socket. */

OWN_FRAME static int client_forget_connect(const struct sockaddr_storage *to, socklen_t length)
{
    int fd = new_socket(to);
    int failed = connect(fd, (const struct sockaddr *)to, length); /* LINE: client_forget opened */
    if (failed)
        die("connect");
    return fd;
}

OWN_FRAME static void client_forget_handle(int fd)
{
    char buffer[512];
    ssize_t got;
    do
        got = read(fd, buffer, sizeof buffer); /* LINE: client_forget touched */
    while (got > 0);
}

/* Client side: we end our side and wait for a server that stays silent. */

OWN_FRAME static int client_half_close_connect(const struct sockaddr_storage *to, socklen_t length)
{
    int fd = new_socket(to);
    int failed = connect(fd, (const struct sockaddr *)to, length); /* LINE: client_half_close opened */
    if (failed)
        die("connect");
    return fd;
}

OWN_FRAME static void client_half_close_handle(int fd)
{
    send_text(fd, "ping");
    shutdown(fd, SHUT_WR); /* LINE: client_half_close touched */
}

const struct way WAYS[] = {
    { "eof_forget", eof_forget_accept, NULL, eof_forget_handle, TCP_CLOSE_WAIT },
    { "inlined_forget", inlined_forget_accept, NULL, inlined_forget_handle, TCP_CLOSE_WAIT },
    { "never_read", never_read_accept, NULL, never_read_handle, TCP_CLOSE_WAIT },
    { "half_close", half_close_accept, NULL, half_close_handle, TCP_FIN_WAIT2 },
    { "reset_forget", reset_forget_accept, NULL, reset_forget_handle, TCP_CLOSE },
    { "client_forget", NULL, client_forget_connect, client_forget_handle, TCP_CLOSE_WAIT },
    { "client_half_close", NULL, client_half_close_connect, client_half_close_handle, TCP_FIN_WAIT2 },
    { NULL, NULL, NULL, NULL, 0 },
};

const struct way *find_way(const char *name)
{
    for (const struct way *way = WAYS; way->name; way++)
        if (strcmp(way->name, name) == 0)
            return way;
    return NULL;
}
