// SPDX-License-Identifier: Apache-2.0
/*
 * The formats that a checkpoint can be written in. A format is a file of this folder and a row of
 * formats.c; the values of the parameter `format` are the rows' names. A format sees neutral
 * layers (codes.h) and gives tensors: it opens no file and knows no job.
 */
#pragma once

#include "base/hash.h"
#include "daemon/pipeline/formats/codes.h"

#include <jansson.h>

/* What a format can express. */
struct format_holds {
    unsigned int wbits;    /* set of 1 << bits */
    bool sym, asym;        /* zeros of 2^(wbits-1) alone; any others */
    const int *groupsizes; /* columns of a group, -1: one grid a row; ends with 0; NULL: any */
    bool k_grids;          /* of ggml's K types */
    bool unordered;        /* g_idx in any order: act_order with groups that are not static */
};

/* What a format is given beside the layer; all borrowed. */
struct format_context {
    struct backend *b; /* NULL in threads that write */
    const struct model_config *config;
    const struct quantization_config *q;
    struct failure *failure;
    const char *model_root; /* as for file_open_in(), of the next */
    const char *model_dir;  /* the folder with the model's tokenizer */
};

struct container; /* such a file in the making */

/*
 * One file that takes all tensors of a checkpoint. It is written from front to back, a layer at a
 * time, and hashed meanwhile; a table that comes first is made from the configuration. One thread
 * at a time; the context has no backend.
 */
struct container_ops {
    const char *file; /* its name in the folder of the checkpoint: "model.pt" */

    /* Begins the file @path. *ret_container is the caller's, who closes it. */
    int (*open)(const struct format_context *c, const char *path, struct container **ret_container);

    /* Writes the tensors of @shard: layer after layer, then what is outside of the layers. */
    int (*add)(const struct format_context *c, struct container *container,
               const struct shard *shard);

    /* All tensors are there: completes the file, and has it on the disk; its hash and bytes. */
    int (*finish)(const struct format_context *c, struct container *container,
                  char ret_sha256[SHA256_TEXT_SIZE], uint64_t *ret_size);

    void (*close)(struct container *container); /* NULL is fine */
};

/* No entry is optional unless it says so. Functions return 0 or -errno with the failure; when an op
 * failed the reason is the backend's. */
struct format_ops {
    const char *name;  /* "gptq" */
    const char *title; /* what the name stands for, in a line */
    const char *usage; /* Markdown: how to load it where there is no engine, or NULL */
    struct format_holds holds;

    /* By which every code, scale, zero and order is read back from its tensors, or NULL: it does
     * not hold them. With it add_layer() does without the backend, as the writer's thread calls it
     * too. */
    const struct reader_ops *reader;

    /* Does add_layer() do without the backend, too, where a layer has the weights of its matrices
     * at hand (matrix_codes)? Its layers are written from these while later ones are computed. */
    bool of_weights;

    /* What its tensors go into; NULL: a shard of safetensors a layer, and their index. A format
     * with a reader has none, as its layers are linked from work/. */
    const struct container_ops *container;

    /* What `holds` cannot say; @q has schemes only when @config is there, and may be plain then.
     * @config NULL: the model is not known yet. Any thread. */
    int (*check)(const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure);

    /* What it needs of the other files in the folder @model_dir, or NULL: nothing. Any thread. */
    int (*check_files)(const char *model_root, const char *model_dir,
                       const struct model_config *config, struct failure *failure);

    /* Appends the tensors of @layer to the empty @shard, which may borrow from the layer. */
    int (*add_layer)(const struct format_context *c, const struct layer_codes *layer,
                     struct shard *shard);

    /* Appends a tensor outside of the layers to @shard, which may borrow its data. */
    int (*add_plain)(const struct format_context *c, const struct tensor *tensor,
                     struct shard *shard);

    /* Says in @config, the model's own config.json, what the checkpoint is. @meta: how it was
     * made, for people; borrowed. */
    int (*describe)(const struct format_context *c, json_t *meta, json_t *config);

    /* Another file that gets the quantization_config of config.json alone, or NULL. */
    const char *config_file;

    /* Bytes of the tensors of a whole model, or NULL: quantized matrices take bits_per_weight, 16
     * bits when none is packed, and all other tensors what they take in the model. Any thread. */
    size_t (*size)(const struct model_config *config, const struct quantization_config *q);

    /* Bits that a weight of the quantized matrices takes; 0 when none is packed. Any thread. */
    double (*bits_per_weight)(const struct model_config *config,
                              const struct quantization_config *q);
};

extern const struct format_ops format_gptq;
extern const struct format_ops format_compressed_tensors;
extern const struct format_ops format_dense;
extern const struct format_ops format_pt;
extern const struct format_ops format_gguf;
extern const struct format_ops format_neutral; /* quantd's own, not to be asked for */

/* formats - all that a job can ask for; the first is the default. */
extern const struct format_ops *const formats[];
extern const int n_formats;

/*
 * format_add_layer() - add_layer() of a format that leaves plain tensors as they are: these, then
 * what @add_matrix appends for each matrix; it returns 0, -ENOMEM, or -errno with the failure.
 */
int format_add_layer(const struct format_context *c, const struct layer_codes *layer,
                     int (*add_matrix)(const struct format_context *c, const struct matrix_codes *m,
                                       struct shard *shard),
                     struct shard *shard);

/* format_copy_plain() - add_plain() of such a format. */
int format_copy_plain(const struct format_context *c, const struct tensor *tensor,
                      struct shard *shard);

/* format_find() - the format called @name, or NULL. */
const struct format_ops *format_find(const char *name);

/*
 * format_check() - can @format hold what @q asks for? @config NULL: the model is not known yet.
 * Return: 0, or -EINVAL with the field "format" or a code of the model's. Any thread.
 */
int format_check(const struct format_ops *format, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure);
