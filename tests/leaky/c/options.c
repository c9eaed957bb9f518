/* The command line: `leaky COMMAND [--option value]…`. */
#define _GNU_SOURCE
#include "leaky.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static void usage(const char *problem)
{
    fprintf(stderr,
            "leaky: %s\n"
            "usage: leaky WAY [--count N] [--rate PER_SECOND] [--for SECONDS] [--port P] [--family 4|6|mapped]\n"
            "             [--threads N] [--idle-threads N] [--recover-after SECONDS] [--comm NAME] [--comm-hex HEX] [--healthy]\n"
            "             [--leak-every N]\n"
            "       leaky hog --processes N --count SOCKETS_EACH --for SECONDS\n"
            "       leaky shared --way fork|dup|handler|in_flight|ring|thread|range|replace|pidfd|exec|rights|use|server|splice --count N --for SECONDS\n"
            "       systemd-socket-activate … leaky activated --way listener|connection --count N --for SECONDS\n"
            "       leaky aborts --way CAUSE|unacknowledged|probes_unanswered|idle --count N [--family 4|6] --for SECONDS\n"
            "       leaky failed --way blocking|polled --count N [--family 4|6|mapped] --for SECONDS\n"
            "       leaky ended --way first|second|reset --count N --for SECONDS\n"
            "       leaky generated --count N --for SECONDS\n"
            "       leaky hands --way table|leader|late_leader|heir|exec --count N --for SECONDS\n"
            "       leaky interrupted --way same|alternate --count N --for SECONDS\n"
            "       leaky again --way pid|address --count N --for SECONDS\n"
            "       leaky spins --way read|seldom|told|asks|rests|busy|elsewhere --count N --for SECONDS\n"
            "       leaky crossing --way TID --processes N --count N --for SECONDS\n"
            "       leaky crowd --count DESCRIPTORS --processes N --idle-threads N --for SECONDS\n"
            "       leaky cut_off [--way server] [--port P] --count N --for SECONDS\n"
            "       leaky exhausted --processes DESCRIPTORS --count N [--rate PER_SECOND] --for SECONDS\n"
            "       leaky last_close --way close|close_range|dup2|exec|io_uring|exit --count N --for SECONDS\n"
            "       leaky queue --count N [--threads LISTENERS] [--processes N] [--recover-after SECONDS] --for SECONDS\n"
            "       leaky churn|stream --for SECONDS\n"
            "       leaky pool --count N --every SECONDS --for SECONDS\n"
            "ways:",
            problem);
    for (const struct way *way = WAYS; way->name; way++)
        fprintf(stderr, " %s", way->name);
    fputc('\n', stderr);
    exit(2);
}

static enum family family_named(const char *name)
{
    if (strcmp(name, "4") == 0)
        return FAMILY_4;
    if (strcmp(name, "6") == 0)
        return FAMILY_6;
    if (strcmp(name, "mapped") == 0)
        return FAMILY_MAPPED;
    usage("--family is 4, 6 or mapped");
    return FAMILY_4;
}

/* Names the process by bytes that no argument could hold, such as newlines and broken UTF-8. */
static void rename_from_hex(const char *hex)
{
    char name[16] = { 0 };
    unsigned byte;
    for (int i = 0; i < 15 && sscanf(hex + 2 * i, "%2x", &byte) == 1; i++)
        name[i] = (char)byte;
    prctl(PR_SET_NAME, name);
}

struct options parse_options(int argc, char **argv)
{
    struct options o = { .count = 10, .rate = 0, .seconds = 30, .every = 0.1, .processes = 1, .leak_every = 1 };
    static const struct option known[] = {
        { "count", required_argument, NULL, 'c' },        { "rate", required_argument, NULL, 'r' },
        { "for", required_argument, NULL, 'f' },          { "port", required_argument, NULL, 'p' },
        { "family", required_argument, NULL, 'F' },       { "threads", required_argument, NULL, 't' },
        { "idle-threads", required_argument, NULL, 'i' }, { "processes", required_argument, NULL, 'P' },
        { "recover-after", required_argument, NULL, 'R' },{ "every", required_argument, NULL, 'e' },
        { "comm", required_argument, NULL, 'n' },         { "comm-hex", required_argument, NULL, 'x' },
        { "way", required_argument, NULL, 'w' },          { "healthy", no_argument, NULL, 'h' },
        { "leak-every", required_argument, NULL, 'l' },
        { NULL, 0, NULL, 0 },
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;)
        switch (option) {
        case 'c': o.count = atoi(optarg); break;
        case 'r': o.rate = atof(optarg); break;
        case 'f': o.seconds = atof(optarg); break;
        case 'p': o.port = atoi(optarg); break;
        case 'F': o.family = family_named(optarg); break;
        case 't': o.threads = atoi(optarg); break;
        case 'i': o.idle_threads = atoi(optarg); break;
        case 'P': o.processes = atoi(optarg); break;
        case 'R': o.recover_after = atof(optarg); break;
        case 'e': o.every = atof(optarg); break;
        case 'n': prctl(PR_SET_NAME, optarg); break;
        case 'x': rename_from_hex(optarg); break;
        case 'w': o.way = optarg; break;
        case 'h': o.healthy = true; break;
        case 'l': o.leak_every = atoi(optarg); break;
        default: usage("no such option");
        }
    if (optind != argc - 1)
        usage("one command is needed");
    o.command = argv[optind];
    if (o.count < 1 || o.seconds <= 0 || o.leak_every < 1)
        usage("--count, --for and --leak-every must be positive");
    return o;
}
