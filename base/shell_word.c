/* SPDX-License-Identifier: MIT
 *
 * Inside single quotes a shell interprets nothing, so only the quote itself needs care.
 */
#include "base/shell_word.h"

#include <string.h>

void shell_word_print(struct text *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        text_print(out, "%s", word);
        return;
    }
    text_print(out, "'");
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            text_print(out, "'\\''");
        else
            text_append(out, word, 1);
    }
    text_print(out, "'");
}
