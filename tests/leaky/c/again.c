/* Leaks, and then leaks again with what the first leak left free: its PID, or the addresses of its
 * sockets in the kernel. The second begins on SIGUSR1. */
#define _GNU_SOURCE
#include "leaky.h"

#include <linux/sched.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int accept_function(int listener);

static OWN_FRAME int again_accept_first(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: again first */
}

static OWN_FRAME int again_accept_second(int listener)
{
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: again second */
}

/* A connection to this program itself, whose other end is closed, and whose end was read. */
static int leak_one(int listener, accept_function *accept_one)
{
    socklen_t length;
    struct sockaddr_storage here = loopback(FAMILY_4, port_of(listener), &length);
    int peer = dial(&here, length), fd = accept_one(listener);
    if (fd < 0)
        die("accept");
    close(peer);
    read_to_end(fd);
    return fd;
}

static void leak(int *fds, const struct options *o, accept_function *accept_one)
{
    int listener = listen_on(FAMILY_4, 0);
    for (int i = 0; i < o->count; i++)
        fds[i] = leak_one(listener, accept_one);
    close(listener);
}

/* Addresses of sockets in CLOSE_WAIT, as the kernel shows them: scrambled, but each always alike. */
static int addresses(unsigned long *all, int room)
{
    FILE *table = fopen("/proc/net/tcp", "r");
    char line[512];
    int count = 0;
    while (table && count < room && fgets(line, sizeof line, table)) {
        unsigned state;
        unsigned long address;
        if (sscanf(line, "%*s %*s %*s %x %*s %*s %*s %*s %*s %*s %*s %lx", &state, &address) == 2 && state == TCP_CLOSE_WAIT)
            all[count++] = address;
    }
    if (table)
        fclose(table);
    return count;
}

/* Same process, same CPU: what is freed first is given out first. */
static void same_addresses(const struct options *o)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    int *fds = calloc((size_t)o->count, sizeof(int)), reused = 0;
    unsigned long *before = calloc((size_t)o->count, sizeof(long)), *after = calloc((size_t)o->count, sizeof(long));
    leak(fds, o, again_accept_first);
    int known = addresses(before, o->count);
    printf("first %d\n", getpid());
    wait_for_signal();
    for (int i = 0; i < o->count; i++)
        close(fds[i]);
    leak(fds, o, again_accept_second);
    int now_known = addresses(after, o->count);
    for (int i = 0; i < now_known; i++)
        for (int j = 0; j < known; j++)
            reused += after[i] == before[j];
    printf("reused %d\n", reused);
    printf("second %d\n", getpid());
}

/* Becomes a process of this name that leaks, and waits to be killed. */
static void child(const struct options *o, const char *suffix, accept_function *accept_one)
{
    char name[16], all[32];
    prctl(PR_GET_NAME, name);
    snprintf(all, sizeof all, "%.13s%s", name, suffix);
    prctl(PR_SET_NAME, all);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    leak(calloc((size_t)o->count, sizeof(int)), o, accept_one);
    printf("%s %d\n", strcmp(suffix, "-1") == 0 ? "first" : "second", getpid());
    pause();
    _exit(0);
}

static void same_pid(const struct options *o)
{
    pid_t pid = fork();
    if (pid == 0)
        child(o, "-1", again_accept_first);
    wait_for_signal();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    struct clone_args arguments = { .exit_signal = SIGCHLD, .set_tid = (unsigned long)&pid, .set_tid_size = 1 };
    long second = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (second < 0)
        die("clone3");
    if (second == 0)
        child(o, "-2", again_accept_second);
}

int run_again(const struct options *o)
{
    double end = now() + o->seconds;
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    if (strcmp(o->way, "pid") == 0)
        same_pid(o);
    else
        same_addresses(o);
    sleep_until(end);
    return 0;
}
