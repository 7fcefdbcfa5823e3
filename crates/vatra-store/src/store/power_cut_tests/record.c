/* Records what a process writes under one directory, for the power cut tests: preloaded into a writing store.
   RECORD_PREFIX is the directory, RECORD_LOG the file that gets the events. An event is: kind (one character),
   path length (u32), path, offset (u64), data length (u32), data; native byte order. Kinds: O opened for writing
   (created or emptied when the data says so), W written, T cut to a length, S synced, R renamed (data = new path),
   U removed. sync_file_range is no sync: it promises nothing across a power cut. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define FDS 4096
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *names[FDS];
static const char *prefix;
static int log_fd = -1;
static int (*real_open)(const char *, int, ...), (*real_close)(int), (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_truncate)(int, off64_t), (*real_rename)(const char *, const char *), (*real_unlink)(const char *);
static ssize_t (*real_write)(int, const void *, size_t), (*real_pwrite)(int, const void *, size_t, off64_t);

__attribute__((constructor)) static void start(void) {
    real_open = dlsym(RTLD_NEXT, "open64"); real_close = dlsym(RTLD_NEXT, "close");
    real_fsync = dlsym(RTLD_NEXT, "fsync"); real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_truncate = dlsym(RTLD_NEXT, "ftruncate64"); real_rename = dlsym(RTLD_NEXT, "rename");
    real_unlink = dlsym(RTLD_NEXT, "unlink"); real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    prefix = getenv("RECORD_PREFIX");
    const char *path = getenv("RECORD_LOG");
    if (prefix && path) log_fd = real_open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
}
static void put(const void *bytes, size_t len) {
    const char *at = bytes;
    while (len > 0) { ssize_t n = real_write(log_fd, at, len); if (n <= 0) abort(); at += n; len -= (size_t)n; }
}
static void event(char kind, const char *path, uint64_t offset, const void *data, size_t data_len) {
    uint32_t path_len = (uint32_t)strlen(path), len = (uint32_t)data_len;
    put(&kind, 1); put(&path_len, 4); put(path, path_len); put(&offset, 8); put(&len, 4); put(data, len);
}
static int ours(const char *path) { return log_fd >= 0 && path && !strncmp(path, prefix, strlen(prefix)); }
static const char *name(int fd) { return fd >= 0 && fd < FDS ? names[fd] : NULL; }
static int opened(int fd, const char *path, int flags) {
    if (fd >= 0 && fd < FDS && ours(path) && (flags & O_ACCMODE) != O_RDONLY) {
        pthread_mutex_lock(&lock);
        free(names[fd]); names[fd] = strdup(path);
        event('O', path, 0, "t", (flags & O_TRUNC) ? 1 : 0);
        pthread_mutex_unlock(&lock);
    }
    return fd;
}
#define OPEN(symbol) int symbol(const char *path, int flags, ...) { \
    va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
    return opened(real_open(path, flags, mode), path, flags); }
OPEN(open) OPEN(open64)
int close(int fd) {
    if (name(fd)) { pthread_mutex_lock(&lock); free(names[fd]); names[fd] = NULL; pthread_mutex_unlock(&lock); }
    return real_close(fd);
}
ssize_t write(int fd, const void *data, size_t len) {
    if (!name(fd)) return real_write(fd, data, len);
    pthread_mutex_lock(&lock);
    off64_t offset = lseek64(fd, 0, SEEK_CUR);
    ssize_t n = real_write(fd, data, len);
    if (n > 0) event('W', names[fd], (uint64_t)offset, data, (size_t)n);
    pthread_mutex_unlock(&lock);
    return n;
}
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset) {
    if (!name(fd)) return real_pwrite(fd, data, len, offset);
    pthread_mutex_lock(&lock);
    ssize_t n = real_pwrite(fd, data, len, offset);
    if (n > 0) event('W', names[fd], (uint64_t)offset, data, (size_t)n);
    pthread_mutex_unlock(&lock);
    return n;
}
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset) { return pwrite64(fd, data, len, offset); }
int ftruncate64(int fd, off64_t len) {
    if (!name(fd)) return real_truncate(fd, len);
    pthread_mutex_lock(&lock);
    int r = real_truncate(fd, len);
    if (r == 0) event('T', names[fd], (uint64_t)len, "", 0);
    pthread_mutex_unlock(&lock);
    return r;
}
int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }
/* Only what was written before the sync began is synced: the event is taken down first, counted when it is done. */
static int sync_with(int fd, int (*real)(int)) {
    if (log_fd < 0 || fd < 0 || fd >= FDS) return real(fd);
    char path[4096], link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return real(fd);
    path[n] = 0;
    if (!ours(path)) return real(fd);
    pthread_mutex_lock(&lock);
    int r = real(fd);
    if (r == 0) event('S', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return r;
}
int fsync(int fd) { return sync_with(fd, real_fsync); }
int fdatasync(int fd) { return sync_with(fd, real_fdatasync); }
int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    int r = real_rename(from, to);
    if (r == 0 && ours(from)) event('R', from, 0, to, strlen(to));
    pthread_mutex_unlock(&lock);
    return r;
}
int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int r = real_unlink(path);
    if (r == 0 && ours(path)) event('U', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return r;
}
