// SPDX-License-Identifier: Apache-2.0
#include "daemon/model/safetensors/mapping.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define N_SLOTS 4096

/*
 * Signal handlers get no argument, so the mappings of the process are registered here, without
 * locks. Whoever fills a slot sets start last and who empties it clears start first: a handler
 * that reads start, end and start again never mixes two mappings.
 */
static struct {
    atomic_bool taken;
    atomic_uintptr_t start, end;
    atomic_bool cut;
} slots[N_SLOTS];

static pthread_once_t install_once = PTHREAD_ONCE_INIT;
static struct sigaction previous;
static uintptr_t page_size;
static int install_result;

/* The slot of the mapping that holds @address, or -1. Async-signal-safe. */
static int find_slot(uintptr_t address) {
    for (int i = 0; i < N_SLOTS; i++) {
        uintptr_t start = atomic_load(&slots[i].start);

        if (start == 0 || address < start || address >= atomic_load(&slots[i].end))
            continue;
        if (atomic_load(&slots[i].start) == start)
            return i;
    }
    return -1;
}

/* A fault that is not ours goes where it would have gone without us. */
static void pass_on(int number, siginfo_t *info, void *context) {
    bool is_fault = info->si_code > 0;

    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler == SIG_DFL || (previous.sa_handler == SIG_IGN && is_fault)) {
        struct sigaction standard = {.sa_handler = SIG_DFL};

        sigaction(SIGBUS, &standard, NULL);
        if (!is_fault)
            raise(SIGBUS); /* a fault happens again by itself */
    } else if (previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    }
}

static void handle_bus_error(int number, siginfo_t *info, void *context) {
    uintptr_t address = (uintptr_t)info->si_addr;
    int slot = info->si_code > 0 ? find_slot(address) : -1;
    int saved = errno;

    /* mmap() is a bare system call on Linux, so it may be made here. */
    if (slot >= 0 && mmap((void *)(address & ~(page_size - 1)), page_size, PROT_READ,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
        atomic_store(&slots[slot].cut, true);
    else
        pass_on(number, info, context);
    errno = saved;
}

static void install_handler(void) {
    struct sigaction action = {.sa_sigaction = handle_bus_error,
                               .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};

    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &previous))
        install_result = -errno;
}

static int take_slot(void) {
    for (int i = 0; i < N_SLOTS; i++) {
        bool taken = false;

        if (atomic_compare_exchange_strong(&slots[i].taken, &taken, true))
            return i;
    }
    return -EMFILE;
}

/* Opens a regular file; O_NONBLOCK keeps a FIFO from holding us up. */
static int open_regular(const char *root, const char *path, size_t max, int *ret_fd,
                        struct identity *ret_identity) {
    cleanup(closep) int fd = file_open_in(root, path, O_RDONLY | O_NONBLOCK);
    struct stat st;
    int r;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st))
        return -errno;
    if (!S_ISREG(st.st_mode))
        return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if ((uintmax_t)st.st_size > max)
        return -EFBIG;
    r = identity_of_fd(fd, ret_identity);
    if (r)
        return r;
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int map_file(struct mapping *mapping, int fd) {
    void *data;

    pthread_once(&install_once, install_handler);
    if (install_result)
        return install_result;
    data = mmap(NULL, mapping->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return -errno;
    mapping->slot = take_slot();
    if (mapping->slot < 0) {
        munmap(data, mapping->size);
        return mapping->slot;
    }
    mapping->data = data;
    atomic_store(&slots[mapping->slot].cut, false);
    atomic_store(&slots[mapping->slot].end, (uintptr_t)data + mapping->size);
    atomic_store(&slots[mapping->slot].start, (uintptr_t)data);
    return 0;
}

int mapping_open(const char *root, const char *path, size_t max, struct mapping **ret_mapping,
                 struct failure *failure) {
    cleanup(freep) struct mapping *mapping = NULL; /* nothing mapped yet, so freep will do */
    cleanup(closep) int fd = -1;
    struct identity identity;
    int r;

    r = open_regular(root, path, max, &fd, &identity);
    if (r)
        return failure_open(failure, r, "cannot open", path);
    mapping = malloc(sizeof(*mapping));
    if (!mapping)
        return failure_oom(failure);
    *mapping = (struct mapping){
        .data = (const unsigned char *)"",
        .size = (size_t)identity.size,
        .identity = identity,
        .slot = -1,
    };
    if (mapping->size > 0) {
        r = map_file(mapping, fd);
        if (r)
            return failure_errno(failure, r, "cannot map", path);
    }
    *ret_mapping = steal_ptr(mapping);
    return 0;
}

void mapping_free(struct mapping *mapping) {
    if (!mapping)
        return;
    if (mapping->slot >= 0) {
        atomic_store(&slots[mapping->slot].start, 0);
        munmap((void *)mapping->data, mapping->size);
        atomic_store(&slots[mapping->slot].taken, false);
    }
    free(mapping);
}

bool mapping_intact(const struct mapping *mapping) {
    return mapping->slot < 0 || !atomic_load(&slots[mapping->slot].cut);
}
