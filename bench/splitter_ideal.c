/* The limit for a log splitter: memchr(3), one hash table, 16 KB a key. No check, no bound, no rotation.
 *
 *     splitter_ideal DIR <lines       writes DIR/KEY.log for lines of the form key|text
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 16384, INPUT = 1 << 20, SLOTS = 1 << 16 };

struct log {
    char *key;
    size_t length;
    int descriptor;
    size_t used;
    char *buffer;
};

static struct log table[SLOTS];

static struct log *find(const char *key, size_t length, const char *folder) {
    uint64_t hash = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)key[i]) * 1099511628211u;
    size_t slot = hash % SLOTS;
    while (table[slot].key && (table[slot].length != length || memcmp(table[slot].key, key, length)))
        slot = (slot + 1) % SLOTS;
    struct log *log = &table[slot];
    if (!log->key) {
        char path[4096];
        log->key = strndup(key, length);
        log->length = length;
        log->buffer = malloc(BUFFER);
        snprintf(path, sizeof path, "%s/%s.log", folder, log->key);
        log->descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
        if (log->descriptor < 0) perror(path), exit(1);
    }
    return log;
}

static void put(int descriptor, const char *data, size_t size) {
    if (size && write(descriptor, data, size) != (ssize_t)size) perror("write"), exit(1);
}

static void append(struct log *log, const char *text, size_t size) {
    if (log->used + size > BUFFER) put(log->descriptor, log->buffer, log->used), log->used = 0;
    if (size > BUFFER) { put(log->descriptor, text, size); return; }
    memcpy(log->buffer + log->used, text, size);
    log->used += size;
}

int main(int count, char **words) {
    if (count != 2) return 2;
    static char input[2 * INPUT];
    size_t have = 0;
    ssize_t got;
    while ((got = read(0, input + have, INPUT)) > 0) {
        char *line = input, *end = input + have + got, *newline;
        while ((newline = memchr(line, '\n', end - line))) {
            char *bar = memchr(line, '|', newline - line);
            if (bar) append(find(line, bar - line, words[1]), bar + 1, newline - bar);
            line = newline + 1;
        }
        have = end - line;
        memmove(input, line, have);
    }
    for (size_t i = 0; i < SLOTS; i++) if (table[i].key) put(table[i].descriptor, table[i].buffer, table[i].used);
    return 0;
}
