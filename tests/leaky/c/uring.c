/* Sockets that come into the program's hands through io_uring, where no accept hook runs. */
#define _GNU_SOURCE
#include "leaky.h"

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ring {
    int fd;
    char *base;
    struct io_uring_params params;
    struct io_uring_sqe *requests;
};

static struct ring new_ring(void)
{
    struct ring ring = { 0 };
    struct io_uring_params *p = &ring.params;
    ring.fd = (int)syscall(SYS_io_uring_setup, 1, p);
    if (ring.fd < 0 || !(p->features & IORING_FEAT_SINGLE_MMAP))
        die("io_uring");
    size_t size = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    ring.base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
    ring.requests = mmap(NULL, p->sq_entries * sizeof *ring.requests, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
    if (ring.base == MAP_FAILED || ring.requests == MAP_FAILED)
        die("mmap");
    return ring;
}

/* One request at a time: the only slot of the queue is always free. */
static int uring_call(struct ring *ring, struct io_uring_sqe request)
{
    const struct io_uring_params *p = &ring->params;
    _Atomic unsigned *submitted = (_Atomic unsigned *)(ring->base + p->sq_off.tail);
    _Atomic unsigned *taken = (_Atomic unsigned *)(ring->base + p->cq_off.head);
    unsigned mask = *(unsigned *)(ring->base + p->cq_off.ring_mask);
    *(unsigned *)(ring->base + p->sq_off.array) = 0;
    ring->requests[0] = request;
    atomic_fetch_add(submitted, 1);
    if (syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        die("io_uring_enter");
    struct io_uring_cqe *done = (struct io_uring_cqe *)(ring->base + p->cq_off.cqes);
    int result = done[atomic_load(taken) & mask].res;
    atomic_fetch_add(taken, 1);
    return result;
}

static int uring_accept(struct ring *ring, int listener)
{
    struct io_uring_sqe accept = { .opcode = IORING_OP_ACCEPT, .fd = listener, .accept_flags = SOCK_CLOEXEC };
    int fd = uring_call(ring, accept);
    if (fd < 0)
        die("accept");
    return fd;
}

void uring_close_all(const int *fds, int count)
{
    struct ring ring = new_ring();
    for (int i = 0; i < count; i++)
        if (uring_call(&ring, (struct io_uring_sqe){ .opcode = IORING_OP_CLOSE, .fd = fds[i] }))
            die("IORING_OP_CLOSE");
}

OWN_FRAME static void uring_read(int fd)
{
    char buffer[4];
    if (recv(fd, buffer, sizeof buffer, 0) != 4) /* LINE: uring read */
        die("recv");
}

OWN_FRAME static void uring_send(int fd)
{
    if (send(fd, "hello", 5, MSG_NOSIGNAL) != 5) /* LINE: uring sent */
        die("send");
}

/* The client asks (--way read), or is greeted first (--way send), and goes away. */
int run_uring(const struct options *o)
{
    bool is_greeted = o->way && strcmp(o->way, "send") == 0;
    socklen_t length;
    int listener = listen_on(o->family, o->port);
    struct sockaddr_storage server = loopback(o->family, port_of(listener), &length);
    printf("listening %d\n", port_of(listener));
    if (fork_peer() == 0) {
        for (int i = 0; i < o->count; i++) {
            int fd = dial(&server, length);
            if (is_greeted)
                read_exactly(fd, 5);
            else
                send_text(fd, "ping");
            close(fd);
        }
        _exit(0);
    }
    struct ring ring = new_ring();
    for (int i = 0; i < o->count; i++) {
        int fd = uring_accept(&ring, listener);
        if (is_greeted)
            uring_send(fd);
        else
            uring_read(fd);
        read_to_end(fd);
    }
    printf("ready %d\n", o->count);
    sleep_until(now() + o->seconds);
    return 0;
}
