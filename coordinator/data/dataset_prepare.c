/* SPDX-License-Identifier: MIT
 *
 * Text into llm.c shards, two passes over the same list of files: the first decides what is text, how much of
 * it goes where, and so the counts in the headers; the second copies. Bytes stay bytes: nothing is decoded,
 * repaired or normalised, and a file with a NUL byte is no text. data.json comes last, so a folder that has
 * one is complete.
 */
#include "coordinator/data/dataset_internal.h"

#include "base/alloc.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_BYTES = 1 << 16, PARTS = 2 };

static const char *const part_names[PARTS] = {"train", "val"};

/* What is taken of one document: bytes [0, split) for training and [split, bytes) for validation. */
struct piece {
    const struct dataset_document *document;
    int64_t bytes, split;
};

struct part {
    int64_t token_count, document_count;
    char hash[HASH_TEXT_SIZE];
};

struct preparation {
    const struct dataset_prepare_options *options;
    const char *suffixes;
    double val_fraction;
    struct dataset_collection collection;
    struct piece *pieces;
    int64_t piece_count, bytes;
    int64_t binary_count, empty_count, beyond_count; /* skipped; beyond bytes_max */
    struct part parts[PARTS];
    unsigned char chunk[CHUNK_BYTES];
    unsigned char tokens[2 * CHUNK_BYTES];
};

/* Up to `bytes` bytes at `offset`; 0 at the end of the file, -1 with errno. */
static ssize_t chunk_read(int fd, unsigned char *chunk, int64_t bytes, int64_t offset)
{
    ssize_t got;
    do {
        got = pread(fd, chunk, (size_t)(bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES), (off_t)offset);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Reads a document to its end: its size, and whether it is text. */
static enum muster_status document_examine(struct preparation *run, const char *path, int64_t *bytes,
                                           bool *is_text, struct muster_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open %s", path);
    enum muster_status status = MUSTER_OK;
    ssize_t got;
    *bytes = 0;
    *is_text = true;
    while (*is_text && (got = chunk_read(fd, run->chunk, CHUNK_BYTES, *bytes)) != 0) {
        if (got < 0) {
            status = muster_error_set_errno(err, errno, "read %s", path);
            break;
        }
        *is_text = memchr(run->chunk, 0, (size_t)got) == NULL;
        *bytes += got;
    }
    close(fd);
    return status;
}

static enum muster_status pieces_choose(struct preparation *run, struct muster_error *err)
{
    int64_t bytes_max = run->options->bytes_max > 0 ? run->options->bytes_max : INT64_MAX;
    run->pieces = alloc_zeroed((size_t)run->collection.count, sizeof *run->pieces);
    if (run->pieces == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %lld file names",
                                (long long)run->collection.count);
    for (int64_t i = 0; i < run->collection.count; i++) {
        const struct dataset_document *document = &run->collection.items[i];
        if (run->bytes == bytes_max) {
            run->beyond_count = run->collection.count - i;
            break;
        }
        int64_t bytes = 0;
        bool is_text = false;
        enum muster_status status = document_examine(run, document->path, &bytes, &is_text, err);
        if (status != MUSTER_OK)
            return status;
        run->binary_count += !is_text;
        run->empty_count += is_text && bytes == 0;
        if (!is_text || bytes == 0)
            continue;
        bytes = bytes < bytes_max - run->bytes ? bytes : bytes_max - run->bytes;
        run->pieces[run->piece_count++] = (struct piece){document, bytes, bytes};
        run->bytes += bytes;
    }
    if (run->piece_count > 0)
        return MUSTER_OK;
    return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                            "no text found: %lld files end in %s; %lld of them are empty, %lld contain NUL "
                            "bytes",
                            (long long)run->collection.count, run->suffixes, (long long)run->empty_count,
                            (long long)run->binary_count);
}

/* The tail of the largest piece, where every file is too large to be given away whole. */
static void tail_split(struct preparation *run)
{
    struct piece *largest = &run->pieces[0];
    for (int64_t i = 1; i < run->piece_count; i++)
        largest = run->pieces[i].bytes > largest->bytes ? &run->pieces[i] : largest;
    int64_t tail = (int64_t)(run->val_fraction * (double)run->bytes);
    largest->split = tail < largest->bytes ? largest->bytes - tail : 1;
}

/*
 * Walks the files and gives the next one to validation whenever validation is behind its share of the text so
 * far. The file's own size does not matter for that, so small files are not preferred; only one that would
 * exceed the share of the whole text is passed over.
 */
static void pieces_split(struct preparation *run)
{
    int64_t seen = 0, val_bytes = 0;
    double val_bytes_max = run->val_fraction * (double)run->bytes;
    for (int64_t i = 0; i < run->piece_count; i++) {
        struct piece *piece = &run->pieces[i];
        bool is_behind = (double)val_bytes < run->val_fraction * (double)seen;
        seen += piece->bytes;
        if (!is_behind || (double)(val_bytes + piece->bytes) > val_bytes_max)
            continue;
        piece->split = 0;
        val_bytes += piece->bytes;
    }
    if (val_bytes == 0 && run->val_fraction > 0)
        tail_split(run);
}

static void piece_range(const struct piece *piece, int part, int64_t *begin, int64_t *end)
{
    *begin = part == 0 ? 0 : piece->split;
    *end = part == 0 ? piece->split : piece->bytes;
}

/* Documents are separated by one newline, hence one token fewer than documents. */
static enum muster_status parts_count(struct preparation *run, struct muster_error *err)
{
    for (int part = 0; part < PARTS; part++) {
        struct part *sums = &run->parts[part];
        for (int64_t i = 0; i < run->piece_count; i++) {
            int64_t begin, end;
            piece_range(&run->pieces[i], part, &begin, &end);
            if (begin == end)
                continue;
            sums->token_count += end - begin + (sums->document_count > 0);
            sums->document_count++;
        }
        if (sums->token_count > INT32_MAX)
            return muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                    "%lld tokens do not fit in one shard (at most %d): take fewer inputs or "
                                    "limit the bytes",
                                    (long long)sums->token_count, INT32_MAX);
    }
    return MUSTER_OK;
}

static void word_put(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static enum muster_status shard_put(struct fs_writer *writer, struct hash_stream *hash, const void *data,
                                    size_t bytes, struct muster_error *err)
{
    hash_stream_update(hash, data, bytes);
    return fs_writer_write(writer, data, bytes, err);
}

/* Bytes as uint16 tokens. */
static enum muster_status chunk_put(struct preparation *run, struct fs_writer *writer,
                                    struct hash_stream *hash, size_t bytes, struct muster_error *err)
{
    for (size_t i = 0; i < bytes; i++) {
        run->tokens[2 * i] = run->chunk[i];
        run->tokens[2 * i + 1] = 0;
    }
    return shard_put(writer, hash, run->tokens, 2 * bytes, err);
}

static enum muster_status range_copy(struct preparation *run, const char *path, int64_t begin, int64_t end,
                                     struct fs_writer *writer, struct hash_stream *hash,
                                     struct muster_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return muster_error_set_errno(err, errno, "open %s", path);
    enum muster_status status = MUSTER_OK;
    while (status == MUSTER_OK && begin < end) {
        ssize_t got = chunk_read(fd, run->chunk, end - begin, begin);
        if (got < 0)
            status = muster_error_set_errno(err, errno, "read %s", path);
        else if (got == 0)
            status = muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                      "%s: the file was cut to %lld bytes while it was being read", path,
                                      (long long)begin);
        else
            status = chunk_put(run, writer, hash, (size_t)got, err);
        begin += got;
    }
    close(fd);
    return status;
}

static enum muster_status shard_fill(struct preparation *run, int part, struct fs_writer *writer,
                                     struct hash_stream *hash, struct muster_error *err)
{
    unsigned char header[LLMC_HEADER_BYTES] = {0};
    static const unsigned char separator[2] = {'\n', 0};
    word_put(header, LLMC_MAGIC_U16);
    word_put(header + 4, LLMC_VERSION_U16);
    word_put(header + 8, (uint32_t)run->parts[part].token_count);
    enum muster_status status = shard_put(writer, hash, header, sizeof header, err);
    bool is_first = true;
    for (int64_t i = 0; status == MUSTER_OK && i < run->piece_count; i++) {
        int64_t begin, end;
        piece_range(&run->pieces[i], part, &begin, &end);
        if (begin == end)
            continue;
        if (!is_first)
            status = shard_put(writer, hash, separator, sizeof separator, err);
        is_first = false;
        if (status == MUSTER_OK)
            status = range_copy(run, run->pieces[i].document->path, begin, end, writer, hash, err);
    }
    return status;
}

static enum muster_status shard_write(struct preparation *run, int part, struct muster_error *err)
{
    char name[16], path[FS_PATH_MAX];
    int64_t bytes = LLMC_HEADER_BYTES + 2 * run->parts[part].token_count;
    snprintf(name, sizeof name, "%s.bin", part_names[part]);
    enum muster_status status = fs_path_join(path, run->options->output_dir, name, err);
    if (status != MUSTER_OK)
        return status;
    struct hash_stream *hash = hash_stream_create();
    if (hash == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a hash");
    struct fs_writer writer;
    status = fs_writer_open(&writer, path, bytes, err);
    if (status == MUSTER_OK) {
        status = shard_fill(run, part, &writer, hash, err);
        if (status == MUSTER_OK)
            status = fs_writer_finish(&writer, err);
        fs_writer_abort(&writer);
    }
    hash_format(hash_stream_value(hash), run->parts[part].hash);
    hash_stream_destroy(hash);
    return status;
}

/* A path as a JSON string; one that is not UTF-8 gets '?' for what JSON cannot hold. */
static json_t *path_to_json(const char *path)
{
    json_t *value = json_string(path);
    char *copy = value == NULL ? alloc_text(path) : NULL;
    if (copy == NULL)
        return value;
    for (char *c = copy; *c != '\0'; c++)
        *c = (unsigned char)*c < 0x80 ? *c : '?';
    value = json_string(copy);
    alloc_free(copy);
    return value;
}

static json_t *sources_to_json(const struct preparation *run)
{
    json_t *list = json_array();
    for (int i = 0; i < run->options->input_count; i++) {
        int64_t bytes = 0, count = 0;
        for (int64_t j = 0; j < run->piece_count; j++) {
            if (run->pieces[j].document->input == i) {
                bytes += run->pieces[j].bytes;
                count++;
            }
        }
        json_array_append_new(list,
                              json_pack("{s:o, s:I, s:I}", "path", path_to_json(run->options->inputs[i]),
                                        "files", (json_int_t)count, "bytes", (json_int_t)bytes));
    }
    return list;
}

static json_t *part_to_json(const struct preparation *run, int part)
{
    const struct part *sums = &run->parts[part];
    char name[16];
    if (sums->token_count == 0)
        return json_null();
    snprintf(name, sizeof name, "%s.bin", part_names[part]);
    return json_pack("{s:s, s:I, s:I, s:s}", "file", name, "tokens", (json_int_t)sums->token_count,
                     "documents", (json_int_t)sums->document_count, "xxh3_128", sums->hash);
}

static int json_to_text(const char *bytes, size_t length, void *text)
{
    text_append(text, bytes, length);
    return 0;
}

static enum muster_status summary_file_write(const struct preparation *run, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, run->options->output_dir, "data.json", err);
    if (status != MUSTER_OK)
        return status;
    json_t *suffixes = path_to_json(run->suffixes);
    json_t *root = json_pack(
        "{s:s, s:i, s:o, s:o, s:o, s:o, s:f, s:{s:I, s:I, s:I, s:I}}", "format", "llmc", "vocab_size",
        DATASET_BYTES_VOCAB, "train", part_to_json(run, 0), "val", part_to_json(run, 1), "sources",
        sources_to_json(run), "suffixes", suffixes, "val_fraction", run->val_fraction, "skipped_files",
        "binary", (json_int_t)run->binary_count, "empty", (json_int_t)run->empty_count, "repeated",
        (json_int_t)run->collection.repeated_count, "beyond_limit", (json_int_t)run->beyond_count);
    struct text text;
    text_init(&text);
    int result = root != NULL ? json_dump_callback(root, json_to_text, &text, JSON_INDENT(2)) : -1;
    text_append(&text, "\n", 1);
    if (result != 0 || text.failed)
        status = muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory to write %s", path);
    else
        status = fs_file_write(path, text.data, text.length, err);
    text_release(&text);
    json_decref(root);
    return status;
}

/* Shards in a folder without data.json are somebody's own, or of a preparation that was cut short. */
static enum muster_status strangers_check(const struct preparation *run, struct muster_error *err)
{
    char path[FS_PATH_MAX], name[16];
    enum muster_status status = MUSTER_OK;
    for (int part = 0; status == MUSTER_OK && part < PARTS; part++) {
        snprintf(name, sizeof name, "%s.bin", part_names[part]);
        status = fs_path_join(path, run->options->output_dir, name, err);
        if (status == MUSTER_OK && fs_exists(path))
            status = muster_error_set(err, MUSTER_ERR_BAD_INPUT,
                                      "%s is there, without the data.json of a preparation: it is not "
                                      "overwritten; remove it, or take another folder",
                                      path);
    }
    return status;
}

/* Those that stay empty, or both. */
static enum muster_status shards_remove(const struct preparation *run, bool both, struct muster_error *err)
{
    char path[FS_PATH_MAX], name[16];
    enum muster_status status = MUSTER_OK;
    for (int part = 0; status == MUSTER_OK && part < PARTS; part++) {
        if (run->parts[part].token_count > 0 && !both)
            continue;
        snprintf(name, sizeof name, "%s.bin", part_names[part]);
        status = fs_path_join(path, run->options->output_dir, name, err);
        if (status == MUSTER_OK)
            status = fs_remove_tree(path, err);
    }
    return status;
}

/* data.json goes before anything changes. A part that stays empty must not keep what an earlier preparation
 * put there: training text would be validation text. A folder without data.json is not ours to clean. */
static enum muster_status old_output_remove(const struct preparation *run, struct muster_error *err)
{
    char path[FS_PATH_MAX];
    enum muster_status status = fs_path_join(path, run->options->output_dir, "data.json", err);
    if (status != MUSTER_OK)
        return status;
    if (!fs_exists(path))
        return strangers_check(run, err);
    status = fs_remove_tree(path, err);
    return status == MUSTER_OK ? shards_remove(run, false, err) : status;
}

/* What fails leaves nothing that the next preparation would take for somebody else's. */
static enum muster_status shards_write(struct preparation *run, struct muster_error *err)
{
    enum muster_status status = MUSTER_OK;
    for (int part = 0; status == MUSTER_OK && part < PARTS; part++) {
        if (run->parts[part].token_count > 0)
            status = shard_write(run, part, err);
    }
    if (status == MUSTER_OK)
        status = summary_file_write(run, err);
    if (status != MUSTER_OK)
        (void)shards_remove(run, true, NULL);
    return status;
}

static void summary_print(const struct preparation *run, struct text *summary)
{
    char bytes[32];
    text_format_bytes(bytes, sizeof bytes, run->bytes);
    text_print(summary, "%s of text from %lld files\n", bytes, (long long)run->piece_count);
    for (int part = 0; part < PARTS; part++) {
        if (run->parts[part].token_count > 0)
            text_print(summary, "%s/%s.bin: %lld tokens from %lld files\n", run->options->output_dir,
                       part_names[part], (long long)run->parts[part].token_count,
                       (long long)run->parts[part].document_count);
        else
            text_print(summary, "no %s.bin: no text is left for it\n", part_names[part]);
    }
    for (int64_t i = 0; i < run->piece_count; i++) {
        const struct piece *piece = &run->pieces[i];
        if (piece->split > 0 && piece->split < piece->bytes)
            text_print(summary, "%s: its last %lld bytes are in val.bin, the others in train.bin\n",
                       piece->document->path, (long long)(piece->bytes - piece->split));
    }
    if (run->binary_count > 0)
        text_print(summary, "skipped %lld binary files (they contain NUL bytes)\n",
                   (long long)run->binary_count);
    if (run->empty_count > 0)
        text_print(summary, "skipped %lld empty files\n", (long long)run->empty_count);
    if (run->collection.repeated_count > 0)
        text_print(summary, "skipped %lld files met twice\n", (long long)run->collection.repeated_count);
    if (run->beyond_count > 0)
        text_print(summary, "left out %lld files: the limit of %lld bytes is reached\n",
                   (long long)run->beyond_count, (long long)run->options->bytes_max);
}

static enum muster_status preparation_run(struct preparation *run, struct text *summary,
                                          struct muster_error *err)
{
    const struct dataset_prepare_options *options = run->options;
    enum muster_status status =
        dataset_collect(&run->collection, options->inputs, options->input_count, run->suffixes, err);
    if (status == MUSTER_OK)
        status = pieces_choose(run, err);
    if (status != MUSTER_OK)
        return status;
    pieces_split(run);
    status = parts_count(run, err);
    if (status == MUSTER_OK)
        status = fs_folder_create(options->output_dir, err);
    if (status == MUSTER_OK)
        status = old_output_remove(run, err);
    if (status == MUSTER_OK)
        status = shards_write(run, err);
    if (status != MUSTER_OK)
        return status;
    summary_print(run, summary);
    return summary->failed ? muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for a text") : MUSTER_OK;
}

enum muster_status dataset_prepare(const struct dataset_prepare_options *options, struct text *summary,
                                   struct muster_error *err)
{
    double fraction = options->val_fraction;
    if (!isfinite(fraction) || fraction >= 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "val_fraction %g is not below 1", fraction);
    if (options->input_count < 1)
        return muster_error_set(err, MUSTER_ERR_BAD_INPUT, "no files or folders are named");
    struct preparation *run = alloc_zeroed(1, sizeof *run);
    if (run == NULL)
        return muster_error_set(err, MUSTER_ERR_NO_MEMORY, "no memory for %zu bytes", sizeof *run);
    run->options = options;
    run->suffixes = options->suffixes != NULL ? options->suffixes : ".txt,.md,.c,.h";
    run->val_fraction = fraction > 0 ? fraction : fraction < 0 ? 0 : 0.05;
    enum muster_status status = preparation_run(run, summary, err);
    dataset_collection_release(&run->collection);
    alloc_free(run->pieces);
    alloc_free(run);
    return status;
}
