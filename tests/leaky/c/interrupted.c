/*
 * Leaks in a signal handler: its stack passes the frame that the kernel made for the signal, below
 * a function that was interrupted between two of its instructions.
 */
#define _GNU_SOURCE
#include "leaky.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static int listener;
static volatile sig_atomic_t left;

OWN_FRAME static int interrupted_accept(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: interrupted opened */
    return fd;
}

OWN_FRAME static void interrupted_handle(int fd)
{
    char buffer[512];
    ssize_t got;
    do
        got = recv(fd, buffer, sizeof buffer, 0); /* LINE: interrupted touched */
    while (got > 0);
}

static void on_timer(int number)
{
    (void)number;
    if (left == 0)
        return;
    int fd = interrupted_accept(); /* LINE: interrupted opened caller */
    if (fd < 0)
        die("accept");
    interrupted_handle(fd); /* LINE: interrupted touched caller */
    left--;
}

/* Makes no calls: the signal comes between two of its own instructions. */
OWN_FRAME static void interrupted_work(void)
{
    while (left > 0)
        ;
}

/* What a walk shows that takes the handler's saved frame pointer for that of its caller. */
OWN_FRAME static void interrupted_run(void)
{
    interrupted_work();
}

int run_interrupted(const struct options *o)
{
    double end = now() + o->seconds;
    socklen_t length;
    listener = listen_on(o->family, 0);
    struct sockaddr_storage here = loopback(o->family, port_of(listener), &length);
    for (int i = 0; i < o->count; i++)
        close(dial(&here, length));
    left = o->count;
    struct sigaction action = { .sa_handler = on_timer };
    if (strcmp(o->way, "alternate") == 0) {
        stack_t stack = { .ss_size = 64 * 1024, .ss_sp = malloc(64 * 1024) };
        if (sigaltstack(&stack, NULL))
            die("sigaltstack");
        action.sa_flags = SA_ONSTACK;
    }
    sigaction(SIGVTALRM, &action, NULL);
    struct timeval pause = { .tv_usec = 100000 };
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){ pause, pause }, NULL);
    interrupted_run();
    setitimer(ITIMER_VIRTUAL, &(struct itimerval){ 0 }, NULL);
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}
