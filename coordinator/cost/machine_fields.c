/* SPDX-License-Identifier: MIT
 *
 * The table itself. Upper bounds are far above any machine; they are there so that a slip of the decimal
 * point by ten orders of magnitude is met where it stands.
 */
#include "coordinator/cost/machine_fields.h"

#include <string.h>

#define AT(member) offsetof(struct machine_profile, member)

static const char *const machine_device_names[] = {"cpu", "cuda", NULL};

const struct job_section machine_sections[] = {
    {"", NULL, "The machine as a whole."},
    {"rates", NULL, "One core while the others idle, or one device."},
    {"ranks", NULL, "A core while every core is a rank of its own; what is missing is as in rates."},
    {"threads", NULL, "A core while one rank has all cores; what is missing is as in ranks."},
    {"host", NULL, "Between ranks of a host, through its memory."},
    {"device_link", NULL, "Between GPUs of a host: NVLink, or PCIe."},
    {"network", NULL, "Between hosts."},
    {"efficiency", NULL, "Shares of these rates that are assumed to be reached; 1 = the rate was measured."},
};
const int machine_section_count = sizeof machine_sections / sizeof machine_sections[0];

#define RATE(name, member, of, text)                                                                         \
    {                                                                                                        \
        .section = SECTION, .key = name, .type = JOB_FIELD_REAL, .offset = RATE_AT(member), .fallback = "0", \
        .min = 0, .max = 1e21, .unit = of, .doc = text                                                       \
    }

#define LINK(name, member, text)                                                                             \
    {.section = name,                                                                                        \
     .key = "latency",                                                                                       \
     .type = JOB_FIELD_REAL,                                                                                 \
     .offset = AT(member.latency_s),                                                                         \
     .fallback = "0",                                                                                        \
     .min = 0,                                                                                               \
     .max = 60,                                                                                              \
     .unit = "s",                                                                                            \
     .doc = "Of the smallest message."},                                                                     \
    {                                                                                                        \
        .section = name, .key = "bandwidth", .type = JOB_FIELD_REAL, .offset = AT(member.bandwidth),         \
        .fallback = "0", .min = 0, .max = 1e18, .unit = "bytes/s", .doc = text                               \
    }

#define EFFICIENCY(name, member, text)                                                                       \
    {                                                                                                        \
        .section = "efficiency", .key = name, .type = JOB_FIELD_REAL, .flags = JOB_FIELD_ABOVE_MIN,          \
        .offset = AT(efficiency.member), .fallback = "1", .min = 0, .max = 1, .doc = text                    \
    }

const struct job_field machine_fields[] = {
    {.section = "",
     .key = "name",
     .type = JOB_FIELD_TEXT,
     .flags = JOB_FIELD_REQUIRED,
     .offset = AT(name),
     .doc = "What predictions call it."},
    {.section = "",
     .key = "source",
     .type = JOB_FIELD_TEXT,
     .flags = JOB_FIELD_REQUIRED,
     .offset = AT(source),
     .doc = "Where the numbers are from."},
    {.section = "",
     .key = "assumed",
     .type = JOB_FIELD_TEXT,
     .offset = AT(assumed),
     .doc = "Which of them nobody measured, beside the efficiencies."},
    {.section = "",
     .key = "device",
     .type = JOB_FIELD_ENUM,
     .flags = JOB_FIELD_REQUIRED,
     .offset = AT(device),
     .names = machine_device_names,
     .doc = "Where operations run."},
    {.section = "",
     .key = "ranks_per_host",
     .type = JOB_FIELD_INT,
     .offset = AT(ranks_per_host),
     .fallback = "1",
     .min = 1,
     .max = 4096,
     .doc = "GPUs of the usual host, or ranks that share a CPU host."},
    {.section = "",
     .key = "cores",
     .type = JOB_FIELD_INT,
     .offset = AT(cores),
     .fallback = "1",
     .min = 1,
     .max = 4096,
     .doc = "Of a host, for ranks on CPUs."},
    {.section = "",
     .key = "memory",
     .type = JOB_FIELD_REAL,
     .offset = AT(memory_bytes),
     .fallback = "0",
     .min = 0,
     .max = 1e18,
     .unit = "bytes",
     .doc = "Of a device, or of a CPU host."},
    {.section = "",
     .key = "attention_block",
     .type = JOB_FIELD_INT,
     .offset = AT(attention_block),
     .fallback = "0",
     .min = 0,
     .max = 65536,
     .doc = "Queries taken at a time: the masked half of a block is computed too."},

#define SECTION         "rates"
#define RATE_AT(member) AT(rates.member)
#include "coordinator/cost/machine_rates.def"
#undef SECTION
#undef RATE_AT

#define SECTION         "ranks"
#define RATE_AT(member) AT(ranks.member)
#include "coordinator/cost/machine_rates.def"
#undef SECTION
#undef RATE_AT

#define SECTION         "threads"
#define RATE_AT(member) AT(threads.member)
#include "coordinator/cost/machine_rates.def"
#undef SECTION
#undef RATE_AT

    LINK("host", host, "In each direction, of one pair of ranks."),
    LINK("device_link", device_link, "In each direction, of one GPU, all its links together."),
    LINK("network", network, "In each direction, of all adapters of a host together."),
    EFFICIENCY("matrix", matrix, "Of matrix products."),
    EFFICIENCY("attention", attention, "Of attention."),
    EFFICIENCY("stream", stream, "Of memory."),
    EFFICIENCY("link", link, "Of links."),
};
const int machine_field_count = sizeof machine_fields / sizeof machine_fields[0];

int machine_field_find(const char *section, const char *key)
{
    for (int i = 0; i < machine_field_count; i++) {
        if (strcmp(machine_fields[i].section, section) == 0 && strcmp(machine_fields[i].key, key) == 0)
            return i;
    }
    return -1;
}
