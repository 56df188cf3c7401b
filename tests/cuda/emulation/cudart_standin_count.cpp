/* SPDX-License-Identifier: MIT
 *
 * How often what was asked of the stand-in: kernels by name, copies, waits. A launch for each tensor or a
 * wait for each micro-step costs nothing here and much on a device, so a test counts them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <map>
#include <string>

#include "cudart_standin_internal.h"

struct count_entry {
    int64_t direct, in_graphs;
};

/* Written when the process ends, or unloads the library. */
struct count_table {
    std::map<std::string, count_entry> entries;

    ~count_table()
    {
        const char *prefix = getenv("MUSTER_STANDIN_COUNTS");
        if (prefix == nullptr || entries.empty())
            return;
        FILE *file = fopen((prefix + std::to_string(getpid())).c_str(), "w");
        if (file == nullptr)
            return;
        for (const auto &entry : entries)
            fprintf(file, "%s %lld %lld\n", entry.first.c_str(), (long long)entry.second.direct,
                    (long long)entry.second.in_graphs);
        fclose(file);
    }
};

/* "(kernel<T>)" counts as "kernel". */
void standin_count(const char *what, bool in_graph)
{
    static count_table table;
    std::lock_guard<std::recursive_mutex> guard(standin_lock());
    std::string name = what[0] == '(' ? what + 1 : what;
    count_entry &entry = table.entries[name.substr(0, name.find('<'))];
    ++(in_graph ? entry.in_graphs : entry.direct);
}
