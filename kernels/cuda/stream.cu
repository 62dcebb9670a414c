// SPDX-License-Identifier: Apache-2.0
/*
 * Weights in and results out beside the queue: stage(), stage_wait(), fetch(), fetch_wait().
 *
 * A streamer is a queue of pieces and some threads, each with a stream and two pinned buffers. A
 * thread copies a piece between pageable memory and a buffer while its other buffer is on the
 * wire. Pieces of BF16 and U8 stay as they are. Pieces of F32 and F16 cross as they are and are
 * rounded to bf16 on the device, half to even, through a buffer there.
 *
 * Order: a piece waits for what lane 0 was given before its stage() or fetch(), so the caller may
 * stage into memory that queued work still reads. stage_wait() makes lane 0 wait for the copies.
 * Memory: threads x 2 x PIECE pinned, and as much on the device for stages, taken at first use.
 */
#include "kernels/cuda/device.cuh"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { N_BUFFERS = 2, MAX_THREADS = 8 };
static const size_t PIECE = 4 << 20; /* bytes */

/* One stage() or fetch(): cut into pieces by the threads. */
struct transfer {
    unsigned char *device;
    unsigned char *host;
    enum dtype dtype; /* of the host's elements */
    size_t size;      /* bytes on the host */
    size_t taken;     /* bytes that threads have taken */
    cudaEvent_t after;
    int users; /* threads that work on it */
    struct transfer *next;
};

struct worker {
    struct streamer *streamer;
    pthread_t thread;
    bool started;
    cudaStream_t stream;
    cudaEvent_t issued; /* the last thing given to the stream */
    unsigned char *pinned[N_BUFFERS], *device[N_BUFFERS];
    cudaEvent_t idle[N_BUFFERS]; /* the buffer may be used again */
    int turn;
};

struct streamer {
    struct cuda_backend *b;
    enum stream_direction direction;
    int n_workers;
    struct worker workers[MAX_THREADS];
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work, done;
    struct transfer *first, *last;
    size_t pending; /* transfers not finished */
    cudaError_t failed;
    bool stopping;
};

struct piece {
    struct transfer *transfer;
    size_t offset, size; /* bytes on the host */
};

template <typename T> __global__ void round_to_bf16_kernel(bf16 *to, const T *from, size_t n) {
    size_t i = ((size_t)blockIdx.x * 256 + threadIdx.x) * 4;

    for (int k = 0; k < 4 && i + k < n; k++)
        to[i + k] = __float2bfloat16_rn((float)from[i + k]);
}

/* -------- a thread's piece -------- */

/* Call with the lock held: the next piece of the oldest transfer that has one. */
static bool take_piece(struct streamer *s, struct piece *ret_piece) {
    struct transfer *t = s->first;

    while (t && t->taken == t->size)
        t = t->next;
    if (!t)
        return false;
    ret_piece->transfer = t;
    ret_piece->offset = t->taken;
    ret_piece->size = t->size - t->taken < PIECE ? t->size - t->taken : PIECE;
    t->taken += ret_piece->size;
    t->users++;
    return true;
}

/* Call with the lock held: drops the transfers at the front that are through. */
static void finish_piece(struct streamer *s, struct piece *piece, cudaError_t status) {
    if (status != cudaSuccess && s->failed == cudaSuccess)
        s->failed = status;
    piece->transfer->users--;
    while (s->first && s->first->taken == s->first->size && !s->first->users) {
        struct transfer *t = s->first;

        s->first = t->next;
        if (!s->first)
            s->last = NULL;
        (void)cudaEventDestroy(t->after);
        free(t);
        s->pending--;
    }
    if (!s->pending)
        pthread_cond_broadcast(&s->done);
}

#define STEP_TRY(call)                                                                             \
    do {                                                                                           \
        cudaError_t status_ = (call);                                                              \
        if (status_ != cudaSuccess)                                                                \
            return status_;                                                                        \
    } while (0)

static cudaError_t stage_piece(struct worker *w, const struct piece *piece) {
    struct transfer *t = piece->transfer;
    int turn = w->turn++ % N_BUFFERS;
    size_t n = piece->size / dtype_size(t->dtype);
    bool same = t->dtype == DTYPE_BF16 || t->dtype == DTYPE_U8;
    unsigned char *to =
        t->device + (same ? piece->offset : piece->offset / dtype_size(t->dtype) * sizeof(bf16));
    unsigned char *raw = same ? to : w->device[turn];

    STEP_TRY(cudaEventSynchronize(w->idle[turn]));
    memcpy(w->pinned[turn], t->host + piece->offset, piece->size);
    STEP_TRY(cudaStreamWaitEvent(w->stream, t->after, 0));
    STEP_TRY(cudaMemcpyAsync(raw, w->pinned[turn], piece->size, cudaMemcpyHostToDevice, w->stream));
    if (t->dtype == DTYPE_F32)
        round_to_bf16_kernel<float>
            <<<blocks_for((long)n, 1024), 256, 0, w->stream>>>((bf16 *)to, (const float *)raw, n);
    else if (t->dtype == DTYPE_F16)
        round_to_bf16_kernel<__half>
            <<<blocks_for((long)n, 1024), 256, 0, w->stream>>>((bf16 *)to, (const __half *)raw, n);
    STEP_TRY(cudaGetLastError());
    STEP_TRY(cudaEventRecord(w->idle[turn], w->stream));
    return cudaEventRecord(w->issued, w->stream);
}

static cudaError_t fetch_piece(struct worker *w, const struct piece *piece) {
    struct transfer *t = piece->transfer;

    STEP_TRY(cudaStreamWaitEvent(w->stream, t->after, 0));
    STEP_TRY(cudaMemcpyAsync(w->pinned[0], t->device + piece->offset, piece->size,
                             cudaMemcpyDeviceToHost, w->stream));
    STEP_TRY(cudaStreamSynchronize(w->stream));
    memcpy(t->host + piece->offset, w->pinned[0], piece->size);
    return cudaSuccess;
}

static cudaError_t open_buffers(struct worker *w) {
    bool staging = w->streamer->direction == STREAM_TO_DEVICE;

    STEP_TRY(cudaStreamCreateWithFlags(&w->stream, cudaStreamNonBlocking));
    STEP_TRY(cudaEventCreateWithFlags(&w->issued, cudaEventDisableTiming));
    for (int i = 0; i < (staging ? N_BUFFERS : 1); i++) {
        STEP_TRY(cudaEventCreateWithFlags(&w->idle[i], (unsigned)cudaEventDisableTiming |
                                                           cudaEventBlockingSync));
        STEP_TRY(cudaMallocHost(&w->pinned[i], PIECE));
        if (staging)
            STEP_TRY(cudaMalloc(&w->device[i], PIECE));
    }
    return cudaSuccess;
}

static void *worker_main(void *arg) {
    struct worker *w = static_cast<struct worker *>(arg);
    struct streamer *s = w->streamer;
    cudaError_t status = cudaSetDevice(s->b->device);
    struct piece piece;

    pthread_mutex_lock(&s->lock);
    while (!s->stopping) {
        if (!take_piece(s, &piece)) {
            pthread_cond_wait(&s->work, &s->lock);
            continue;
        }
        if (status == cudaSuccess)
            status = s->failed;
        pthread_mutex_unlock(&s->lock);
        if (status == cudaSuccess && !w->stream)
            status = open_buffers(w);
        if (status == cudaSuccess)
            status =
                s->direction == STREAM_TO_DEVICE ? stage_piece(w, &piece) : fetch_piece(w, &piece);
        pthread_mutex_lock(&s->lock);
        finish_piece(s, &piece, status);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* -------- the op thread's side -------- */

int streamer_new(struct cuda_backend *b, enum stream_direction direction,
                 struct streamer **ret_streamer) {
    struct streamer *s = static_cast<struct streamer *>(calloc(1, sizeof(*s)));

    if (!s)
        return failure_oom(&b->why);
    s->b = b;
    s->direction = direction;
    s->n_workers = MAX_THREADS;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->done, NULL);
    *ret_streamer = s; /* close() frees it, also when a thread fails below */
    for (int i = 0; i < s->n_workers; i++) {
        s->workers[i].streamer = s;
        if (pthread_create(&s->workers[i].thread, NULL, worker_main, &s->workers[i]))
            return failure_set(&b->why, -EAGAIN, "io_error", "raise the limit of threads",
                               "cannot start a thread that copies to device %d", b->device);
        s->workers[i].started = true;
    }
    return 0;
}

static void free_worker(struct worker *w) {
    if (w->stream)
        (void)cudaStreamSynchronize(w->stream);
    for (int i = 0; i < N_BUFFERS; i++) {
        if (w->idle[i])
            (void)cudaEventDestroy(w->idle[i]);
        (void)cudaFreeHost(w->pinned[i]);
        (void)cudaFree(w->device[i]);
    }
    if (w->issued)
        (void)cudaEventDestroy(w->issued);
    if (w->stream)
        (void)cudaStreamDestroy(w->stream);
}

struct streamer *streamer_free(struct streamer *s) {
    if (!s)
        return NULL;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (struct worker &w : s->workers)
        if (w.started)
            pthread_join(w.thread, NULL);
    for (struct worker &w : s->workers)
        free_worker(&w);
    while (s->first) {
        struct transfer *t = s->first;

        s->first = t->next;
        (void)cudaEventDestroy(t->after);
        free(t);
    }
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->done);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

static int queue_transfer(struct cuda_backend *b, struct streamer *s, unsigned char *device,
                          unsigned char *host, enum dtype dtype, size_t size) {
    struct transfer *t;
    cudaError_t status;

    if (!size)
        return 0;
    t = static_cast<struct transfer *>(calloc(1, sizeof(*t)));
    if (!t)
        return failure_oom(&b->why);
    t->device = device;
    t->host = host;
    t->dtype = dtype;
    t->size = size;
    status = cudaEventCreateWithFlags(&t->after, cudaEventDisableTiming);
    if (status == cudaSuccess)
        status = cudaEventRecord(t->after, b->lanes[0].stream);
    if (status != cudaSuccess) {
        free(t);
        return status_cuda(b, status, "cudaEventRecord");
    }
    pthread_mutex_lock(&s->lock);
    if (s->last)
        s->last->next = t;
    else
        s->first = t;
    s->last = t;
    s->pending++;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

/* Waits until no transfer is pending; the first error of the threads is taken and returned. */
static cudaError_t drain(struct streamer *s) {
    cudaError_t status;

    pthread_mutex_lock(&s->lock);
    while (s->pending)
        pthread_cond_wait(&s->done, &s->lock);
    status = s->failed;
    pthread_mutex_unlock(&s->lock);
    return status;
}

int cuda_stage(struct backend *base, struct span dst, const void *src, enum dtype dtype, size_t n) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "stage", "elements dtype", n, dtype));
    if (dtype != DTYPE_F32 && dtype != DTYPE_F16 && dtype != DTYPE_BF16 && dtype != DTYPE_U8)
        return status_invalid(b, "'%s' is neither a float type nor U8", dtype_name(dtype));
    TRY(op_needs(b, {{"dst", dst, bytes_of(dtype == DTYPE_U8 ? 1 : sizeof(bf16), {(long)n}),
                      dtype == DTYPE_U8 ? 1 : 2}}));
    return queue_transfer(b, b->stager, dst.at, (unsigned char *)src, dtype, n * dtype_size(dtype));
}

int cuda_stage_wait(struct backend *base) {
    struct cuda_backend *b = cuda_of(base);

    /* Also when the device has failed: nothing may still read what the caller then frees. */
    cudaError_t drained = drain(b->stager);

    TRY(op_begin(b, "stage_wait", ""));
    CUDA_TRY(b, drained);
    for (struct worker &w : b->stager->workers)
        if (w.stream)
            CUDA_TRY(b, cudaStreamWaitEvent(b->lanes[0].stream, w.issued, 0));
    return 0;
}

int cuda_fetch(struct backend *base, void *dst, struct span src) {
    struct cuda_backend *b = cuda_of(base);

    TRY(op_begin(b, "fetch", "bytes", src.size));
    return queue_transfer(b, b->fetcher, src.at, (unsigned char *)dst, DTYPE_U8, src.size);
}

int cuda_fetch_wait(struct backend *base) {
    struct cuda_backend *b = cuda_of(base);

    cudaError_t drained = drain(b->fetcher); /* likewise */

    TRY(op_begin(b, "fetch_wait", ""));
    CUDA_TRY(b, drained);
    return 0;
}
