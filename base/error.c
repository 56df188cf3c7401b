/* SPDX-License-Identifier: MIT
 *
 * The text is put together in a local buffer before it is stored, so that a caller may pass the old error's
 * text as an argument of the new one. A system call's reason is never cut off: the words before it give way.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int exit_code;
} status_table[] = {
    [MUSTER_OK] = {"ok", MUSTER_EXIT_DONE},
    [MUSTER_ERR_BAD_INPUT] = {"bad input", MUSTER_EXIT_BAD_INPUT},
    [MUSTER_ERR_UNSUPPORTED] = {"unsupported", MUSTER_EXIT_BAD_INPUT},
    [MUSTER_ERR_NO_MEMORY] = {"not enough memory", MUSTER_EXIT_BAD_INPUT},
    [MUSTER_ERR_IO] = {"input/output", MUSTER_EXIT_FAILED},
    [MUSTER_ERR_NO_SPACE] = {"no space", MUSTER_EXIT_FAILED},
    [MUSTER_ERR_CORRUPT] = {"corrupt data", MUSTER_EXIT_FAILED},
    [MUSTER_ERR_PEER] = {"peer failed", MUSTER_EXIT_FAILED},
    [MUSTER_ERR_NUMERIC] = {"not a finite number", MUSTER_EXIT_FAILED},
    [MUSTER_ERR_CANCELLED] = {"cancelled", MUSTER_EXIT_RESUMABLE},
    [MUSTER_ERR_FENCED] = {"superseded", MUSTER_EXIT_FAILED},
    [MUSTER_ERR_INTERNAL] = {"internal", MUSTER_EXIT_FAILED},
};

enum { STATUS_COUNT = sizeof status_table / sizeof status_table[0] };

enum muster_status muster_error_set(struct muster_error *err, enum muster_status status, const char *format,
                                    ...)
{
    if (err == NULL)
        return status;
    char text[sizeof err->text];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    memcpy(err->text, text, strlen(text) + 1);
    err->status = status;
    err->agreed = false;
    return status;
}

enum muster_status muster_error_set_errno(struct muster_error *err, int errno_value, const char *format, ...)
{
    enum muster_status status =
        errno_value == ENOSPC || errno_value == EDQUOT ? MUSTER_ERR_NO_SPACE : MUSTER_ERR_IO;
    if (err == NULL)
        return status;
    char text[sizeof err->text], reason[128];
    snprintf(reason, sizeof reason, ": %s", strerror(errno_value));
    size_t reason_length = strlen(reason);
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof text - reason_length, format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    size_t length = strlen(text);
    memcpy(err->text, text, length);
    memcpy(err->text + length, reason, reason_length + 1);
    err->status = status;
    err->agreed = false;
    return status;
}

const char *muster_status_name(enum muster_status status)
{
    return (unsigned)status < STATUS_COUNT ? status_table[status].name : "unknown";
}

int muster_status_exit_code(enum muster_status status)
{
    return (unsigned)status < STATUS_COUNT ? status_table[status].exit_code : MUSTER_EXIT_FAILED;
}
