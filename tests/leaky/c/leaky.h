/* Shared by the programs that leak sockets in one known way each. */
#ifndef LEAKY_H
#define LEAKY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

/* A function that stays a frame of its own, whatever the compiler is told. */
#define OWN_FRAME __attribute__((noipa))

enum family { FAMILY_4, FAMILY_6, FAMILY_MAPPED };

struct options {
    const char *command;   /* a way to leak, `peer`, or a load */
    const char *way;       /* of a peer: whose peer it is */
    int count;             /* connections, or sockets per process */
    double rate;           /* connections per second, 0: as fast as possible */
    double seconds;        /* the program ends itself after this long */
    double recover_after;  /* close everything this long after `ready`, 0: never */
    double every;          /* pool: seconds between two replacements */
    int port;              /* 0: any */
    enum family family;
    int threads;           /* that handle connections; 0: the main thread does */
    int idle_threads;      /* that do nothing */
    int processes;         /* hog: that hold sockets */
    bool healthy;          /* do the same work, and close */
    int leak_every;        /* close all but each of these: 1 leaks all */
};

/* options.c */
struct options parse_options(int argc, char **argv);

/* net.c */
void die(const char *what) __attribute__((noreturn));
double now(void);
void sleep_until(double moment);
void let_them_look(void);
void wait_for_signal(void);
struct sockaddr_storage loopback(enum family family, int port, socklen_t *length);
int listen_on(enum family family, int port);
int port_of(int fd);
int new_socket(const struct sockaddr_storage *address);
int dial(const struct sockaddr_storage *address, socklen_t length);
int dial_one_of_many(const struct sockaddr_storage *server, socklen_t length, long number);
int tcp_state(int fd);
bool wait_for_state(const int *fds, int count, int state, double until);
void read_exactly(int fd, int bytes);
void read_to_end(int fd);
void send_text(int fd, const char *text);
void reset(int fd);

/* ways.c */
struct way {
    const char *name;
    int (*accept)(int listener);                                        /* server side, or */
    int (*connect)(const struct sockaddr_storage *to, socklen_t length); /* client side */
    void (*handle)(int fd);
    int final_state;                                                    /* a TCP_… state */
};
extern const struct way WAYS[];
const struct way *find_way(const char *name);

/* holder.c */
int run_holder(const struct way *way, const struct options *options);

/* peer.c */
pid_t start_peer(const struct options *options, int port, int listener);
int run_peer(const struct options *options);

/* activated.c, again.c, aborts.c, crossing.c, crowd.c, cut_off.c, ended.c, exhausted.c, failed.c, generated.c, hands.c, hog.c, interrupted.c, last_close.c, load.c, queue.c, shared.c, spins.c, uring.c */
int run_activated(const struct options *options);
int run_again(const struct options *options);
int run_aborts(const struct options *options);
int run_crossing(const struct options *options);
int run_crowd(const struct options *options);
int run_cut_off(const struct options *options);
int run_ended(const struct options *options);
int run_exhausted(const struct options *options);
int run_failed(const struct options *options);
int run_generated(const struct options *options);
int run_hands(const struct options *options);
int run_interrupted(const struct options *options);
int run_shared(const struct options *options);
int run_spins(const struct options *options);
pid_t fork_peer(void);
int run_last_close(const struct options *options);
int run_queue(const struct options *options);
int run_uring(const struct options *options);
void uring_close_all(const int *fds, int count);
int run_hog(const struct options *options);
int run_churn(const struct options *options);
int run_pool(const struct options *options);
int run_stream(const struct options *options);

#endif
