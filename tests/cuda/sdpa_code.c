/* SPDX-License-Identifier: MIT
 *
 * Kernels are ELF files in base64; an instruction is 16 bytes, whose lowest 12 bits are the operation. What
 * those numbers mean is not documented: they were read from what nvcc 13.0 makes of atomicAdd and of the bulk
 * reductions for sm_80, sm_90 and sm_100. ATOMG on integers (0x9a8 from sm_90 on) is not among them: with it
 * blocks take the next piece of work, and a piece's sums keep their order whoever takes it.
 */
#include "tests/cuda/sdpa_code.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

/* RED, RED and ATOMG of floats, RED and ATOM of pairs, bulk and tensor reductions. */
static const unsigned code_reductions[] = {0x98e, 0x9a6, 0x9a3, 0x9a2, 0x98a, 0x3aa, 0x3bb, 0x3b6};
enum { CODE_ATOMG = 0x9a8, CODE_ATOMG_IS_OF_INTEGERS_FROM = 90 };

static int code_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

/* Bytes of base64 text up to its end or a filler; `to` has room for three quarters of it. */
static size_t code_decode(const char *text, unsigned char *to)
{
    size_t count = 0;
    uint32_t bits = 0;
    for (int have = 0; code_digit(*text) >= 0; text++) {
        bits = bits << 6 | (uint32_t)code_digit(*text);
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[count++] = (unsigned char)(bits >> have);
        }
    }
    return count;
}

static bool code_is_reduction(unsigned operation, unsigned architecture)
{
    for (size_t i = 0; i < sizeof code_reductions / sizeof *code_reductions; i++)
        if (operation == code_reductions[i])
            return true;
    return operation == CODE_ATOMG && architecture < CODE_ATOMG_IS_OF_INTEGERS_FROM;
}

static void code_count_section(const unsigned char *code, uint64_t size, unsigned architecture,
                               struct sdpa_code_counts *counts)
{
    for (uint64_t at = 0; at + 16 <= size; at += 16) {
        counts->instructions++;
        counts->reductions +=
            code_is_reduction((code[at] | (unsigned)code[at + 1] << 8) & 0xfff, architecture);
    }
}

/* Executable sections of one file; a file that is not whole counts for nothing. */
static void code_count_file(const unsigned char *file, size_t size, unsigned architecture,
                            struct sdpa_code_counts *counts)
{
    Elf64_Ehdr head;
    if (size < sizeof head || memcmp(file, ELFMAG, SELFMAG) != 0)
        return;
    memcpy(&head, file, sizeof head);
    for (unsigned i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr section;
        const uint64_t at = head.e_shoff + (uint64_t)i * sizeof section;
        if (at + sizeof section > size)
            return;
        memcpy(&section, file + at, sizeof section);
        if ((section.sh_flags & SHF_EXECINSTR) != 0 && section.sh_offset + section.sh_size <= size)
            code_count_section(file + section.sh_offset, section.sh_size, architecture, counts);
    }
}

/* The kernels' names carry what they are written for: …_sm80_…, …_sm90_…. */
struct sdpa_code_counts sdpa_code_count(const char *json)
{
    static const char name[] = "\"kernelName\":\"", code[] = "\"cubin\":\"";
    struct sdpa_code_counts counts = {0, 0};
    for (const char *kernel = strstr(json, name); kernel != NULL; kernel = strstr(kernel + 1, name)) {
        const char *architecture = strstr(kernel, "_sm"), *text = strstr(kernel, code);
        if (architecture == NULL || text == NULL)
            return counts;
        text += sizeof code - 1;
        unsigned char *file = alloc_zeroed(strcspn(text, "\"") + 1, 1);
        if (file == NULL)
            return counts;
        code_count_file(file, code_decode(text, file), architecture[3] == '8' ? 80 : 90, &counts);
        alloc_free(file);
    }
    return counts;
}
