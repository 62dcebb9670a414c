// SPDX-License-Identifier: Apache-2.0
/*
 * The programs that run checkpoints, one row each: what of a quantization each one takes, as
 * docs/FORMATS.md has it from runs. A job may name the one that its checkpoint is for, and is
 * refused then what that program would refuse or read wrongly. Any thread.
 */
#pragma once

#include "base/failure.h"
#include "daemon/model/arch/config.h"

struct format_ops;

struct engine_ops {
    const char *name;  /* the value of the parameter `for` */
    const char *title; /* what it takes, in a line */
    const char *usage; /* Markdown, lines of text: how to run a checkpoint in the folder . */

    /* Does it load @format with what @q asks for, and rightly? For one scheme: @q is that of the
     * matrices which have no rule, or of those of one rule; they are in q->groups. @config NULL:
     * the model is not known yet. Return: 0, or -EINVAL with the field that is to blame. */
    int (*check)(const struct format_ops *format, const struct quantization_config *q,
                 const struct model_config *config, struct failure *failure);
};

extern const struct engine_ops engine_vllm;
extern const struct engine_ops engine_llama_cpp;
extern const struct engine_ops engine_transformers;
extern const struct engine_ops engine_gptqmodel;

/* engines - all that a job can name. */
extern const struct engine_ops *const engines[];
extern const size_t n_engines;

/*
 * engine_check() - does @engine load @format with @q and all of its schemes, and rightly? @config
 * NULL: the model is not known yet. Return: 0, or -EINVAL with the field that is to blame.
 */
int engine_check(const struct engine_ops *engine, const struct format_ops *format,
                 const struct quantization_config *q, const struct model_config *config,
                 struct failure *failure);
