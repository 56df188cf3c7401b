/* SPDX-License-Identifier: MIT
 *
 * The agent's words come from the environment of the person, as Open MPI reads them (OMPI_MCA_plm_rsh_agent,
 * the first of several with ':' between); they are cut at blanks and given to execvp, never to a shell.
 */
#include "coordinator/supervise/supervise_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { AGENT_WORDS_MAX = 24, AGENT_TEXT_SIZE = 1024, OWN_WORDS = 6 };

struct probe {
    pid_t pid; /* 0 = none */
    int fd;    /* readable when it has ended */
};

static bool is_this_host(const char *name)
{
    char here[256] = "";
    gethostname(here, sizeof here - 1);
    size_t length = strcspn(here, ".");
    return strcmp(name, "localhost") == 0 || strcmp(name, here) == 0 ||
           (strncmp(name, here, length) == 0 && name[length] == '\0');
}

/* Cuts `text` into words; returns how many. */
static int agent_words(char text[AGENT_TEXT_SIZE], const char *words[AGENT_WORDS_MAX])
{
    const char *agent = getenv("OMPI_MCA_plm_rsh_agent");
    int count = 0;
    char *rest = NULL;
    size_t length = agent != NULL ? strcspn(agent, ":") : 0;
    if (length == 0 || length >= AGENT_TEXT_SIZE) {
        agent = "ssh";
        length = strlen(agent);
    }
    memcpy(text, agent, length);
    text[length] = '\0';
    for (char *word = strtok_r(text, " \t", &rest); word != NULL && count < AGENT_WORDS_MAX - OWN_WORDS;
         word = strtok_r(NULL, " \t", &rest))
        words[count++] = word;
    if (count == 0)
        words[count++] = "ssh";
    const char *name = strrchr(words[0], '/');
    name = name != NULL ? name + 1 : words[0];
    if (strcmp(name, "ssh") == 0) {
        words[count++] = "-oBatchMode=yes";
        words[count++] = "-oConnectTimeout=5";
    }
    return count;
}

static struct probe probe_start(const char *host)
{
    char text[AGENT_TEXT_SIZE];
    const char *words[AGENT_WORDS_MAX + 1];
    int count = agent_words(text, words);
    words[count++] = host;
    words[count++] = "true";
    words[count] = NULL;
    struct probe probe = {.pid = fork(), .fd = -1};
    if (probe.pid == 0) {
        sigset_t none;
        int nothing = open("/dev/null", O_RDWR);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        for (int fd = 0; fd < 3; fd++)
            dup2(nothing, fd);
        execvp(words[0], (char *const *)(uintptr_t)words);
        _exit(127);
    }
    if (probe.pid > 0)
        probe.fd = (int)syscall(SYS_pidfd_open, probe.pid, 0);
    return probe;
}

/* Waits until the deadline, then no longer. */
static bool probe_finish(const struct probe *probe, int64_t deadline_ns)
{
    int status = 0;
    if (probe->pid <= 0)
        return false;
    for (;;) {
        int64_t left_ms = (deadline_ns - clock_monotonic_ns()) / 1000000;
        struct pollfd end = {.fd = probe->fd, .events = POLLIN};
        int ready = probe->fd >= 0 ? poll(&end, 1, left_ms > 0 ? (int)left_ms : 0) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            kill(probe->pid, SIGKILL);
        break;
    }
    while (waitpid(probe->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (probe->fd >= 0)
        close(probe->fd);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void supervise_probe(const char *const *hosts, int count, int timeout_ms, bool *answers)
{
    int64_t deadline_ns = clock_monotonic_ns() + (int64_t)timeout_ms * 1000000;
    struct probe *probes = alloc_zeroed((size_t)count, sizeof *probes);
    for (int i = 0; i < count; i++) {
        answers[i] = is_this_host(hosts[i]);
        if (probes != NULL && !answers[i])
            probes[i] = probe_start(hosts[i]);
    }
    for (int i = 0; i < count && probes != NULL; i++)
        answers[i] = answers[i] || probe_finish(&probes[i], deadline_ns);
    alloc_free(probes);
}
