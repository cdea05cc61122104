/*
 * run_workers_message.c: messages between the processes of a crew, over a socket that keeps their
 * borders. See run_workers_impl.h.
 */
#include "run_workers_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct message message_of(enum message_kind kind, int64_t tokens, const char *text)
{
    struct message m = { .kind = kind, .tokens = tokens };
    size_t len = strlen(text);
    if (len >= sizeof(m.text))
        len = utf8_valid(text, sizeof(m.text) - 1);
    memcpy(m.text, text, len);
    return m;
}

/* Room for one descriptor beside a message, aligned as the system wants it. */
union beside {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

int message_send(int socket, const struct message *m, int fd)
{
    union beside beside = { 0 };
    struct iovec data = { (void *)(uintptr_t)m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &data, .msg_iovlen = 1 };
    if (fd >= 0) {
        h.msg_control = &beside;
        h.msg_controllen = sizeof(beside.room);
        beside.header.cmsg_level = SOL_SOCKET;
        beside.header.cmsg_type = SCM_RIGHTS;
        beside.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&beside.header), &fd, sizeof(fd));
    }
    ssize_t n;
    do
        n = sendmsg(socket, &h, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(*m) ? 0 : -1;
}

int message_receive(int socket, struct message *m, int *fd)
{
    union beside beside = { 0 };
    struct iovec data = { m, sizeof(*m) };
    struct msghdr h = { .msg_iov = &data,
                        .msg_iovlen = 1,
                        .msg_control = &beside,
                        .msg_controllen = sizeof(beside.room) };
    *fd = -1;
    ssize_t n = recvmsg(socket, &h, MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return -1;
    if (n != (ssize_t)sizeof(*m))
        return 0;
    struct cmsghdr *c = CMSG_FIRSTHDR(&h);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(c), sizeof(*fd));
    return 1;
}
