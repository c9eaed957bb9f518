/* Sockets that close() leaves open, because something else holds the file. */
#define _GNU_SOURCE
#include "leaky.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static OWN_FRAME int shared_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, 0); /* LINE: shared opened */
    if (fd < 0)
        die("accept");
    return fd;
}

static OWN_FRAME void shared_close(int fd)
{
    close(fd); /* LINE: shared closed */
}

static OWN_FRAME void shared_close_range(int first, int last)
{
    syscall(SYS_close_range, (unsigned)first, (unsigned)last, 0); /* LINE: shared closed range */
}

static OWN_FRAME void shared_replace(int by, int fd)
{
    dup2(by, fd); /* LINE: shared replaced */
}

static OWN_FRAME void shared_read(int fd)
{
    read_to_end(fd); /* LINE: shared read */
}

static void read_and_close(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        shared_read(fds[i]);
    let_them_look();
    for (int i = 0; i < count; i++)
        shared_close(fds[i]);
}

/* A child that has copies of everything, and does nothing with them. */
static pid_t start_helper(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    printf("helper %d\n", pid);
    return pid;
}

static void by_fork(const int *fds, int count)
{
    start_helper();
    read_and_close(fds, count);
}

/* Another program, that was started without close-on-exec. */
static void by_exec(const int *fds, int count)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("sleep", "sleep", "90", NULL);
        die("exec");
    }
    printf("helper %d\n", pid);
    read_and_close(fds, count);
}

static void by_dup(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        dup(fds[i]);
    read_and_close(fds, count);
    for (int i = 0; i < count; i++)
        shared_close(fds[i]); /* once too often */
}

/* Copies that stay, and everything read. */
static void copy_and_read(const int *fds, int count)
{
    for (int i = 0; i < count; i++) {
        fcntl(fds[i], F_DUPFD_CLOEXEC, 500);
        shared_read(fds[i]);
    }
    let_them_look();
}

static void by_range(const int *fds, int count)
{
    copy_and_read(fds, count);
    for (int i = 1; i < count; i++)
        if (fds[i] != fds[0] + i)
            die("not in a row");
    shared_close_range(fds[0], fds[count - 1]);
}

static void by_replacement(const int *fds, int count)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    copy_and_read(fds, count);
    for (int i = 0; i < count; i++)
        shared_replace(null, fds[i]);
}

/* As servers do that fork for each connection: the child handles it, and here it forgets. */
static void by_handler(const int *fds, int count)
{
    let_them_look();
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        usleep(300000);
        for (int i = 0; i < count; i++)
            shared_read(fds[i]);
        for (;;)
            pause();
    }
    printf("helper %d\n", pid);
    for (int i = 0; i < count; i++)
        shared_close(fds[i]);
    usleep(600000);
}

/* As programs do that make one stream to read and one to write: a copy, whose first is closed long before the end. */
static void by_use(const int *fds, int count)
{
    let_them_look();
    for (int i = 0; i < count; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 500);
        shared_close(fds[i]);
        read_exactly(copy, 3); /* and not the last byte, with which the end may come */
    }
}

/* As servers do that fork for each connection: the child answers, and here it hangs. */
static void by_server(const int *fds, int count)
{
    let_them_look();
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        usleep(300000);
        for (int i = 0; i < count; i++)
            read_exactly(fds[i], 3);
        for (;;)
            pause();
    }
    printf("helper %d\n", pid);
    for (int i = 0; i < count; i++)
        shared_close(fds[i]);
    usleep(600000);
}

/* A child that has given up what it inherited, and fetched copies out of its parent, as debuggers and
 * servers that hand over to their successor do. */
static void by_pidfd(const int *fds, int count)
{
    int done[2], parent = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (parent < 0 || pipe(done))
        die("pidfd_open");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < count; i++) {
            close(fds[i]);
            if (syscall(SYS_pidfd_getfd, parent, fds[i], 0) < 0)
                die("pidfd_getfd");
        }
        if (write(done[1], "x", 1) != 1)
            die("write");
        for (;;)
            pause();
    }
    char byte;
    if (read(done[0], &byte, 1) != 1)
        die("read");
    printf("helper %d\n", pid);
    read_and_close(fds, count);
}

static void pass(int through, const int *fds, int count)
{
    for (int i = 0; i < count; i++) {
        union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = { 0 };
        struct iovec byte = { .iov_base = "x", .iov_len = 1 };
        struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
        control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(&control.header), &fds[i], sizeof(int));
        if (sendmsg(through, &message, 0) != 1)
            die("sendmsg");
    }
}

/* In a Unix socket that nobody reads. */
static void in_flight(const int *fds, int count)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        die("socketpair");
    pass(pair[0], fds, count);
    read_and_close(fds, count);
}

/* To a child that inherited none, and keeps what it is given. */
static void by_rights(const int *fds, int count)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        die("socketpair");
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < count; i++)
            close(fds[i]);
        for (int i = 0; i < count; i++) {
            char byte, room[CMSG_SPACE(sizeof(int))];
            struct iovec data = { .iov_base = &byte, .iov_len = 1 };
            struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
            if (recvmsg(pair[1], &message, 0) != 1 || message.msg_controllen != sizeof room)
                die("recvmsg");
        }
        if (send(pair[1], "x", 1, 0) != 1)
            die("send");
        for (;;)
            pause();
    }
    char byte;
    pass(pair[0], fds, count);
    if (read(pair[0], &byte, 1) != 1)
        die("read");
    printf("helper %d\n", pid);
    read_and_close(fds, count);
}

static void in_ring(const int *fds, int count)
{
    struct io_uring_params params = { 0 };
    int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
    if (ring < 0 || syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, fds, count))
        die("io_uring");
    read_and_close(fds, count);
}

static void *wait_for_data(void *fd)
{
    char byte;
    prctl(PR_SET_NAME, "leaky-blocked");
    printf("blocked %ld\n", syscall(SYS_gettid));
    recv(*(const int *)fd, &byte, 1, 0);
    return NULL;
}

/* Threads wait on them, and close() does not wake these. */
static void while_waiting(const int *fds, int count, void *(*wait)(void *))
{
    pthread_t thread;
    for (int i = 0; i < count; i++)
        pthread_create(&thread, NULL, wait, (void *)&fds[i]);
    let_them_look();
    for (int i = 0; i < count; i++) {
        shutdown(fds[i], SHUT_WR);
        shared_close(fds[i]);
    }
}

static void by_thread(const int *fds, int count)
{
    while_waiting(fds, count, wait_for_data);
}

static void *wait_to_splice(void *fd)
{
    int ends[2];
    prctl(PR_SET_NAME, "leaky-blocked");
    if (pipe(ends) == 0)
        splice(*(const int *)fd, NULL, ends[1], NULL, 4096, 0);
    return NULL;
}

/* The same by a call that is no read. */
static void by_splice(const int *fds, int count)
{
    while_waiting(fds, count, wait_to_splice);
}

static const struct {
    const char *name;
    void (*share)(const int *fds, int count);
} WAYS_TO_SHARE[] = {
    { "fork", by_fork },         { "dup", by_dup },     { "handler", by_handler },
    { "in_flight", in_flight },  { "ring", in_ring },   { "thread", by_thread },
    { "range", by_range },       { "replace", by_replacement }, { "pidfd", by_pidfd },
    { "exec", by_exec },         { "rights", by_rights },       { "use", by_use },
    { "server", by_server },     { "splice", by_splice },
};

/* The other end. Against a thread that waits, it stays silent. */
static void talk(const struct sockaddr_storage *server, socklen_t length, int count, bool silent)
{
    for (int i = 0; i < count; i++) {
        int fd = dial(server, length);
        if (!silent) {
            send_text(fd, "ping");
            close(fd);
        }
    }
    if (silent)
        for (;;)
            pause();
}

int run_shared(const struct options *o)
{
    void (*share)(const int *, int) = NULL;
    for (size_t i = 0; i < sizeof WAYS_TO_SHARE / sizeof *WAYS_TO_SHARE; i++)
        if (o->way && strcmp(o->way, WAYS_TO_SHARE[i].name) == 0)
            share = WAYS_TO_SHARE[i].share;
    if (!share) {
        fprintf(stderr, "leaky: shared needs --way fork, dup, handler, in_flight, ring, thread, range, replace, pidfd, exec, rights, use, server or splice\n");
        return 2;
    }
    double end = now() + o->seconds;
    int listener = listen_on(o->family, o->port);
    socklen_t length;
    struct sockaddr_storage server = loopback(o->family, port_of(listener), &length);
    printf("listening %d\n", port_of(listener));
    if (fork_peer() == 0) {
        close(listener);
        talk(&server, length, o->count, share == by_thread || share == by_splice);
        _exit(0);
    }
    int *fds = calloc((size_t)o->count, sizeof(int));
    for (int i = 0; i < o->count; i++)
        fds[i] = shared_accept(listener);
    share(fds, o->count);
    printf("ready %d\n", o->count);
    sleep_until(end);
    return 0;
}
