/* Two causes that make their calls through code that was generated at run time, without a map of it. */
#define _GNU_SOURCE
#include "leaky.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)

/* Calls its fifth argument with the first four: sub $8,%rsp; call *%r8; add $8,%rsp; ret. */
static const unsigned char CODE[] = { 0x48, 0x83, 0xec, 8, 0x41, 0xff, 0xd0, 0x48, 0x83, 0xc4, 8, 0xc3 };

typedef long generated(long a, void *b, long c, long d, void *function);

static generated *through;

OWN_FRAME static int generated_accept_first(int listener)
{
    int fd = (int)through(listener, NULL, 0, SOCK_CLOEXEC, accept4);
    return fd;
}

OWN_FRAME static int generated_accept_second(int listener)
{
    int fd = (int)through(listener, NULL, 0, SOCK_CLOEXEC, accept4);
    return fd;
}

OWN_FRAME static void generated_handle(int fd)
{
    char buffer[512];
    while (through(fd, buffer, sizeof buffer, 0, recv) > 0)
        ;
}

int run_generated(const struct options *o)
{
    double end = now() + o->seconds;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        die("mmap");
    memcpy(page, CODE, sizeof CODE);
    through = (generated *)page;
    socklen_t length;
    int listener = listen_on(o->family, 0);
    struct sockaddr_storage here = loopback(o->family, port_of(listener), &length);
    for (int i = 0; i < o->count; i++) {
        int peer = dial(&here, length);
        int fd = i % 2 ? generated_accept_first(listener) : generated_accept_second(listener);
        close(peer);
        generated_handle(fd);
        sleep_until(now() + 0.1);
    }
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}

#else

int run_generated(const struct options *o)
{
    (void)o;
    fprintf(stderr, "leaky: no code for this processor\n");
    return 2;
}

#endif
