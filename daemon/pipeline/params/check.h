// SPDX-License-Identifier: Apache-2.0
/*
 * What can be known of a job before it computes: whether its model, tokenizer and data sets are
 * there and fit its parameters. The first phase of a run uses it, and whoever takes a job.
 */
#pragma once

#include "daemon/data/corpus.h"
#include "daemon/model/checkpoint.h"
#include "daemon/model/tokenizer/tokenizer.h"
#include "daemon/pipeline/params/params.h"

/* check_seqlen() - the length of windows that a job with @p uses: what it asks for, or its default.
 */
int check_seqlen(const struct model_config *config, const struct params *p);

/*
 * check_codes_dir() - the folder that has the codes of the job whose checkpoint is @artifact:
 * `codes` beside it, or itself; the caller owns it. NULL: out of memory. Any thread.
 */
char *check_codes_dir(const char *artifact);

/*
 * check_open() - checkpoint_open() of the model in @dir. Of a job it is the checkpoint, too, but
 * for a format that is one file and not read: that job stands for its codes. Any thread.
 */
int check_open(const char *root, const char *dir, const struct params *p,
               struct checkpoint **ret_checkpoint, struct failure *failure);

/*
 * check_model() - do seqlen, groupsize, format and the rest of @p fit the model? Return: 0; -EINVAL
 * with the field or what is not supported; or -errno. Any thread.
 */
int check_model(const struct checkpoint *checkpoint, const struct params *p,
                struct failure *failure);

/* check_tokenizer() - open the tokenizer of the folder, or GGUF file, @dir, as by file_open_in();
 * the caller owns *ret_tokenizer. */
int check_tokenizer(const char *root, const char *dir, const char *model,
                    struct tokenizer **ret_tokenizer, struct failure *failure);

/* check_name_set() - say in the failure of a text that is too short, @r, that it is @name's. */
int check_name_set(const char *name, int r, struct failure *failure);

#define CHECK_WARNING_SIZE 256

/*
 * check_warning() - what a user should know of a job that is taken, with a model of @config: a
 * sentence for people; "": nothing. Return: 0 or -ENOMEM. Any thread.
 */
int check_warning(const struct model_config *config, const struct params *p,
                  char ret_text[CHECK_WARNING_SIZE], struct failure *failure);

/*
 * check_loaders() - is there a loader that cannot take matrices of a layer to differ as @q, with
 * its schemes, says? @ret_text: a sentence for people; "": there is none. Any thread.
 */
void check_loaders(const struct model_config *config, const struct quantization_config *q,
                   char ret_text[CHECK_WARNING_SIZE]);

/*
 * check_job() - all of the above, and the data sets, from headers and first bytes alone: some ten
 * milliseconds. Only a local text of few bytes is read, when the model is here, to see that it has
 * a window (dataset_too_short): a larger one is taken to have it, and no text is fetched. @dir: the
 * folder of the model; "": it is not here yet, and not looked at.
 * @root: what no link in it may leave; NULL: the folder itself.
 * @ret_warning: as check_warning() has it; "" when the model is not here
 * Return: 0; -EINVAL; or -errno when the machine is to blame. Any thread.
 */
int check_job(const char *root, const char *dir, const struct params *p,
              const struct corpora *corpora, char ret_warning[CHECK_WARNING_SIZE],
              struct failure *failure);
