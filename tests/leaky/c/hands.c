/* Sockets whose holder is not who it was, or is not one process with one table of descriptors. */
#define _GNU_SOURCE
#include "leaky.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static OWN_FRAME int hands_accept(int listener)
{
    return accept4(listener, NULL, NULL, 0); /* LINE: hands opened */
}

static OWN_FRAME void hands_read(int fd)
{
    read_to_end(fd); /* LINE: hands touched */
}

/* Connections to this process itself, whose other ends are closed, and whose ends were read; and as many sockets that
 * were never connected. */
static void leak(const struct options *o)
{
    socklen_t length;
    int listener = listen_on(FAMILY_4, 0);
    struct sockaddr_storage here = loopback(FAMILY_4, port_of(listener), &length);
    for (int i = 0; i < o->count; i++) {
        int peer = dial(&here, length), fd = hands_accept(listener);
        if (fd < 0)
            die("accept");
        close(peer);
        hands_read(fd);
        new_socket(&here);
    }
    close(listener);
}

static pid_t clone_with(int flags)
{
    pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid < 0)
        die("clone");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static void stay(void)
{
    for (;;)
        pause();
}

static void *idle(void *nothing)
{
    stay();
    return nothing;
}

/* Two processes with one table. */
static void table(const struct options *o)
{
    leak(o);
    pid_t other = clone_with(CLONE_FILES);
    if (other == 0) {
        prctl(PR_SET_NAME, "leaky-other");
        stay();
    }
    printf("other %d\n", other);
}

static void *leak_and_stay(void *options)
{
    const struct options *o = options;
    leak(o);
    printf("ready %d\n", o->count);
    stay();
    return NULL;
}

/* The first thread ends before the others. */
static void first_thread_ends(const struct options *o)
{
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, idle, NULL);
    if (strcmp(o->way, "late_leader") == 0) {
        leak(o);
        printf("ready %d\n", o->count);
        wait_for_signal();
    } else {
        pthread_create(&thread, NULL, leak_and_stay, (void *)o);
    }
    syscall(SYS_exit, 0);
}

/* A process leaks, has an heir, and is killed. */
static void heir(const struct options *o)
{
    int ready[2];
    char byte;
    if (pipe(ready))
        die("pipe");
    pid_t first = clone_with(0);
    if (first == 0) {
        leak(o);
        pid_t second = clone_with(CLONE_PARENT);
        if (second == 0) {
            prctl(PR_SET_NAME, "leaky-heir");
            stay();
        }
        printf("first %d\n", (int)syscall(SYS_getpid));
        printf("heir %d\n", second);
        if (write(ready[1], "x", 1) != 1)
            die("write");
        stay();
    }
    if (read(ready[0], &byte, 1) != 1)
        die("read");
    printf("ready %d\n", o->count);
    wait_for_signal();
    kill(first, SIGKILL);
}

static void *become_sleep(void *nothing)
{
    wait_for_signal();
    execlp("sleep", "sleep", "60", NULL);
    die("exec");
    return nothing;
}

/* Becomes another program, by a call of a thread that is not the first. */
static void exec_by_thread(const struct options *o)
{
    pthread_t thread;
    pthread_create(&thread, NULL, become_sleep, NULL);
    leak(o);
}

int run_hands(const struct options *o)
{
    double end = now() + o->seconds;
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    if (strcmp(o->way, "table") == 0)
        table(o);
    else if (strcmp(o->way, "heir") == 0)
        heir(o);
    else if (strcmp(o->way, "exec") == 0)
        exec_by_thread(o);
    else
        first_thread_ends(o);
    if (strcmp(o->way, "heir") != 0)
        printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}
