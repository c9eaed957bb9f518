/* A library that is loaded when its program has long been running: it accepts connections and forgets them. Several are
 * made of this, whose functions have names of their own (-Dplugin_accept=…). */
#define _GNU_SOURCE
#include <sys/socket.h>
#include <unistd.h>

#define OWN_FRAME __attribute__((noipa))

OWN_FRAME static int plugin_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LINE: plugin opened */
    return fd;
}

OWN_FRAME static void plugin_handle(int fd)
{
    char buffer[512];
    ssize_t got;
    do
        got = read(fd, buffer, sizeof buffer); /* LINE: plugin touched */
    while (got > 0);
}

void plugin_serve(int listener, int count, int keep)
{
    for (int i = 0; i < count; i++) {
        int fd = plugin_accept(listener);
        plugin_handle(fd);
        if (!keep)
            close(fd);
    }
}
