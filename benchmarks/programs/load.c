/* Closed-loop TCP load: each connection sends the same request, waits for its answer, and sends it again.
 *
 * usage: load PORT CONNECTIONS SECONDS ANSWER_BYTES < REQUEST
 *
 * prints "rate N": answers per second, after a fifth of that time to warm up. The answer has the same length every
 * time, and must begin every time as the first one did, so that an error page is not counted as success.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { CONNECTIONS_MAX = 256, REQUEST_MAX = 65536, BUFFER = 65536, HEAD = 8 };

struct connection {
    int socket;
    size_t received; /* bytes of the current answer */
    char head[HEAD]; /* its first bytes */
};

static char request[REQUEST_MAX];
static size_t request_length;
static size_t answer_length;
static char first_head[HEAD];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void send_request(const struct connection *connection)
{
    if (write(connection->socket, request, request_length) != (ssize_t)request_length)
        fail("load: cannot send a request");
}

static int connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int new = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (new < 0 || connect(new, (struct sockaddr *)&address, sizeof address) != 0)
        fail("load: cannot connect");
    return new;
}

static void keep_head(struct connection *connection, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length && connection->received + i < HEAD; i++)
        connection->head[connection->received + i] = bytes[i];
}

static void check_head(const struct connection *connection)
{
    if (first_head[0] == 0)
        memcpy(first_head, connection->head, HEAD);
    if (memcmp(first_head, connection->head, HEAD) != 0) {
        fprintf(stderr, "load: an answer began differently: %.8s\n", connection->head);
        exit(1);
    }
}

/* Takes what has arrived; 1 if that completed an answer, and the next request is then under way. */
static int receive(struct connection *connection)
{
    static char buffer[BUFFER];
    size_t wanted = answer_length - connection->received;
    ssize_t got = read(connection->socket, buffer, wanted < BUFFER ? wanted : BUFFER);

    if (got <= 0)
        fail("load: the server closed a connection");
    keep_head(connection, buffer, (size_t)got);
    connection->received += (size_t)got;
    if (connection->received < answer_length)
        return 0;
    check_head(connection);
    connection->received = 0;
    send_request(connection);
    return 1;
}

static double measure(int poll, double seconds)
{
    double begin = now(), end = begin;
    long answers = 0;

    while (end - begin < seconds) {
        struct epoll_event events[CONNECTIONS_MAX];
        int ready = epoll_wait(poll, events, CONNECTIONS_MAX, 5000);

        if (ready <= 0)
            fail("load: no answer within 5 s");
        for (int i = 0; i < ready; i++)
            answers += receive(events[i].data.ptr);
        end = now();
    }
    return (double)answers / (end - begin);
}

int main(int argc, char **argv)
{
    static struct connection connections[CONNECTIONS_MAX];
    int poll = epoll_create1(0);
    int count = argc == 5 ? atoi(argv[2]) : 0;

    if (count < 1 || count > CONNECTIONS_MAX)
        return 2;
    answer_length = strtoul(argv[4], NULL, 10);
    request_length = fread(request, 1, sizeof request, stdin);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};

        connections[i].socket = connect_to(atoi(argv[1]));
        if (epoll_ctl(poll, EPOLL_CTL_ADD, connections[i].socket, &event) != 0)
            fail("load: epoll_ctl");
        send_request(&connections[i]);
    }
    measure(poll, atof(argv[3]) / 5);
    printf("rate %.1f\n", measure(poll, atof(argv[3])));
    return 0;
}
