/* SPDX-License-Identifier: MIT
 *
 * A wire with a delay, for kernels without netem: what comes in at one TAP device goes out at the other after
 * so many microseconds, both ways, in order. Says "ready" when both devices exist, and runs until it is
 * killed.
 *
 * usage: delay_line DELAY_US TAP TAP
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES_MAX = 4096, FRAME_BYTES_MAX = 2048, NS_PER_US = 1000 };

struct frame {
    int64_t due_ns;
    ssize_t bytes;
    unsigned char data[FRAME_BYTES_MAX];
};

/* One direction: a ring of frames, each due no earlier than the one before it. */
struct direction {
    int from, to;
    struct frame *frames;
    unsigned first, last; /* counted on; the index is the rest by FRAMES_MAX */
};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int tap_open(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
        fprintf(stderr, "delay_line: %s: %s\n", name, strerror(errno));
        return -1;
    }
    return fd;
}

static void frames_take(struct direction *line, int64_t delay_ns)
{
    while (line->last - line->first < FRAMES_MAX) {
        struct frame *frame = &line->frames[line->last % FRAMES_MAX];
        frame->bytes = read(line->from, frame->data, sizeof frame->data);
        if (frame->bytes <= 0)
            return;
        frame->due_ns = now_ns() + delay_ns;
        line->last++;
    }
}

/* Gives out what is due; the time of the next frame, or 0. */
static int64_t frames_give(struct direction *line)
{
    while (line->first != line->last) {
        struct frame *frame = &line->frames[line->first % FRAMES_MAX];
        if (frame->due_ns > now_ns())
            return frame->due_ns;
        if (write(line->to, frame->data, (size_t)frame->bytes) < 0 && errno == EAGAIN)
            return now_ns();
        line->first++;
    }
    return 0;
}

static void line_run(struct direction lines[2], int64_t delay_ns)
{
    for (;;) {
        int64_t next_ns = 0;
        for (int i = 0; i < 2; i++) {
            frames_take(&lines[i], delay_ns);
            int64_t due_ns = frames_give(&lines[i]);
            next_ns = due_ns != 0 && (next_ns == 0 || due_ns < next_ns) ? due_ns : next_ns;
        }
        int64_t wait_ns = next_ns - now_ns();
        struct timespec wait = {.tv_sec = 0,
                                .tv_nsec = wait_ns > 0 && wait_ns < 999999999 ? (long)wait_ns : 0};
        struct pollfd events[] = {{.fd = lines[0].from, .events = POLLIN},
                                  {.fd = lines[1].from, .events = POLLIN}};
        ppoll(events, 2, next_ns != 0 ? &wait : NULL, NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int64_t delay_ns = strtoll(argv[1], NULL, 10) * NS_PER_US;
    int a = tap_open(argv[2]), b = tap_open(argv[3]);
    struct direction lines[2] = {{.from = a, .to = b}, {.from = b, .to = a}};
    for (int i = 0; i < 2; i++)
        lines[i].frames = calloc(FRAMES_MAX, sizeof *lines[i].frames);
    if (a < 0 || b < 0 || lines[0].frames == NULL || lines[1].frames == NULL)
        return 1;
    puts("ready");
    fflush(stdout);
    line_run(lines, delay_ns);
}
