/* `leaky-late LIBRARY…`: serves for a while, then loads one library after the other; each leaks three connections. */
#define _GNU_SOURCE
#include "../c/leaky.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { LEAKED = 3, SECONDS = 60 };

/* Another process connects, and hangs up at once. */
static void connect_once(int port)
{
    socklen_t length;
    struct sockaddr_storage server = loopback(FAMILY_4, port, &length);
    pid_t peer = fork();
    if (peer == 0) {
        close(dial(&server, length));
        _exit(0);
    }
}

OWN_FRAME static void serve_one(int listener)
{
    connect_once(port_of(listener));
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    read_to_end(fd);
    close(fd);
}

/* Has a library leak connections, and unloads it. Says where it was. */
static void leak_by(const char *path, int listener)
{
    void *library = dlopen(path, RTLD_NOW);
    void (*serve)(int, int, int) = library ? (void (*)(int, int, int))dlsym(library, "plugin_serve") : NULL;
    if (!serve)
        die("dlopen");
    /* The first one tells how its functions keep their frames. */
    connect_once(port_of(listener));
    serve(listener, 1, false);
    let_them_look();
    for (int i = 0; i < LEAKED; i++)
        connect_once(port_of(listener));
    serve(listener, LEAKED, true);
    let_them_look();
    dlclose(library);
    printf("ready %p\n", (void *)serve);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    alarm(SECONDS + 10); /* whatever hangs: the end */
    int listener = listen_on(FAMILY_4, 0);
    serve_one(listener);
    for (int i = 1; i < argc; i++) {
        /* As long as whoever watches may believe that nothing has changed. */
        for (int again = 0; again < (i == 1 ? 1 : 7); again++)
            let_them_look();
        leak_by(argv[i], listener);
    }
    printf("done\n");
    sleep(SECONDS);
    return 0;
}
