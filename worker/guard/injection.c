/* SPDX-License-Identifier: MIT
 *
 * See injection.h.
 */
#include "worker/guard/injection.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAUSE_NS = 60000000 };

static const char *const names[] = {
    [INJECTION_NONE] = "none",   [INJECTION_NAN] = "nan",   [INJECTION_SOFT] = "soft",
    [INJECTION_SPIKE] = "spike", [INJECTION_FLIP] = "flip", [INJECTION_SLOW] = "slow"};

enum muster_status injection_init(struct injection *injection, int rank, struct muster_error *err)
{
    *injection = (struct injection){.rank = -1};
    const char *text = getenv("MUSTER_INJECT");
    if (text == NULL || text[0] == '\0')
        return MUSTER_OK;
    char name[16] = "";
    long long step = 0;
    int wanted = -1;
    int found = sscanf(text, "%15[a-z]@%lld:%d", name, &step, &wanted);
    int kind = INJECTION_SLOW;
    while (kind > INJECTION_NONE && strcmp(name, names[kind]) != 0)
        kind--;
    bool needs_rank = kind >= INJECTION_FLIP;
    if (kind == INJECTION_NONE || step < 1 || found != (needs_rank ? 3 : 2))
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "MUSTER_INJECT: '%.80s' cannot be read", text);
    if (!needs_rank || wanted == rank)
        *injection = (struct injection){.kind = (enum injection_kind)kind, .step = step, .rank = wanted};
    return MUSTER_OK;
}

double injection_loss(struct injection *injection, int64_t data_number, double loss)
{
    if (injection == NULL || injection->step != data_number + 1)
        return loss;
    switch (injection->kind) {
    case INJECTION_NAN:
        return NAN;
    case INJECTION_SOFT:
        if (!injection->spent)
            loss = NAN;
        injection->spent = true;
        return loss;
    case INJECTION_SPIKE:
        return 100.0 * loss;
    default:
        return loss;
    }
}

bool injection_flips(const struct injection *injection, int64_t number)
{
    return injection != NULL && injection->kind == INJECTION_FLIP && injection->step == number + 1;
}

void injection_flip(void *weight)
{
    *(unsigned char *)weight ^= 1;
}

void injection_delay(const struct injection *injection, int64_t number)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    if (injection != NULL && injection->kind == INJECTION_SLOW && number + 1 >= injection->step)
        nanosleep(&pause, NULL);
}
