// A server in C++ that forgets to close its sockets when a handler throws: templates, virtual
// functions, exceptions and inlined members between main and the calls.
// `leaky eof_forget --count N --for SECONDS [--hand-over]`; the peers are connections of its own.
// With --leak-every N it remembers to close all but every Nth of them.
// With --depths D,D,… one socket more is opened for each, below that many calls of a function by itself.
// With --hand-over a child is left with the sockets, and the process that opened them ends.
#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

#define OWN_FRAME __attribute__((noinline))
#define INLINED inline __attribute__((always_inline))

struct Plain {};

class Handler {
public:
    virtual ~Handler() = default;
    virtual void handle(int fd) = 0;
};

template <typename Protocol> class Reader : public Handler {
public:
    OWN_FRAME void handle(int fd) override
    {
        char buffer[64];
        while (recv(fd, buffer, sizeof buffer, 0) > 0) // LINE: eof_forget touched
            ;
        throw std::runtime_error("the peer closed");
    }
};

template <typename Protocol> class Server {
public:
    Server() : listener_(socket(AF_INET, SOCK_STREAM, 0)), handler_(std::make_unique<Reader<Protocol>>())
    {
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address_;
        if (bind(listener_, reinterpret_cast<sockaddr *>(&address_), length) || listen(listener_, 8) ||
            getsockname(listener_, reinterpret_cast<sockaddr *>(&address_), &length))
            throw std::runtime_error("cannot listen");
    }

    OWN_FRAME int serve(int count, int leak_every = 1)
    {
        int failed = 0;
        for (int i = 0; i < count; i++) {
            connect_and_close();
            int fd = admit(); // LINE: eof_forget opened outer
            try {
                handler_->handle(fd); // LINE: eof_forget touched caller
                close(fd);
            } catch (const std::runtime_error &) {
                if ((i + 1) % leak_every != 0)
                    clean_up(fd);
                else
                    failed++; // close() is forgotten
            }
        }
        return failed;
    }

private:
    INLINED int admit()
    {
        return eof_forget_accept(); // LINE: eof_forget opened caller
    }

    OWN_FRAME int eof_forget_accept()
    {
        int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC); // LINE: eof_forget opened
        if (fd < 0)
            throw std::runtime_error("cannot accept");
        return fd;
    }

    OWN_FRAME void clean_up(int fd)
    {
        if (close(fd)) // LINE: eof_forget closed
            throw std::runtime_error("cannot close");
    }

    void connect_and_close()
    {
        int peer = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(peer, reinterpret_cast<sockaddr *>(&address_), sizeof address_))
            throw std::runtime_error("cannot connect");
        close(peer);
    }

    int listener_;
    sockaddr_in address_{};
    std::unique_ptr<Handler> handler_;
};

OWN_FRAME static int dive(Server<Plain> &server, int depth)
{
    volatile char room[64];
    room[0] = 0;
    int failed = depth > 0 ? dive(server, depth - 1) : server.serve(1);
    return failed + room[0];
}

int main(int argc, char **argv)
{
    int count = 3, leak_every = 1;
    unsigned seconds = 30;
    const char *depths = "";
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--count") == 0)
            count = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--leak-every") == 0)
            leak_every = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--for") == 0)
            seconds = static_cast<unsigned>(atoi(argv[i + 1]));
        if (strcmp(argv[i], "--depths") == 0)
            depths = argv[i + 1];
    }
    alarm(seconds);
    Server<Plain> server;
    int failed = server.serve(count, leak_every); // LINE: eof_forget main
    for (const char *at = depths; *at; at += strcspn(at, ",") + (strchr(at, ',') != nullptr))
        failed += dive(server, atoi(at));
    printf("ready %d\n", failed);
    fflush(stdout);
    if (strcmp(argv[argc - 1], "--hand-over") == 0) {
        pid_t heir = fork();
        if (heir != 0) {
            printf("heir %d\n", heir);
            fflush(stdout);
            usleep(300000);
            _exit(0);
        }
        alarm(seconds);
    }
    pause();
    return 0;
}
