// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/params/check.h"

#include "base/str.h"
#include "daemon/data/companions.h"
#include "daemon/model/arch/geometry.h"
#include "daemon/model/gguf/tokenizer.h"
#include "daemon/pipeline/formats/format.h"
#include "daemon/pipeline/params/k_types.h"
#include "daemon/pipeline/params/request.h"
#include "daemon/pipeline/params/schemes.h"
#include "daemon/pipeline/params/units.h"
#include "daemon/pipeline/windows/windows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SEQLEN_DEFAULT 2048
#define TOKEN_BYTES 32 /* a text with more bytes a token is too odd to be found out early */

int check_seqlen(const struct model_config *config, const struct params *p) {
    return p->seqlen ? p->seqlen : MIN(SEQLEN_DEFAULT, config->max_position_embeddings);
}

char *check_codes_dir(const char *artifact) {
    const char *slash = strrchr(artifact, '/');
    int n = slash ? (int)(slash - artifact) : 0;
    cleanup(freep) char *codes = str_format("%.*s/codes", n, artifact);

    if (codes && access(codes, F_OK))
        return strdup(artifact);
    return steal_ptr(codes);
}

int check_open(const char *root, const char *dir, const struct params *p,
               struct checkpoint **ret_checkpoint, struct failure *failure) {
    cleanup(freep) char *index = str_format("%s/model.safetensors.index.json", dir);
    cleanup(freep) char *gguf = str_format("%s/%s", dir, format_gguf.container->file);
    cleanup(freep) char *codes = check_codes_dir(dir);
    bool is_job = str_has_prefix(p->model, "job:");

    if (!index || !gguf || !codes)
        return failure_oom(failure);
    if (is_job && !access(gguf, F_OK))
        return checkpoint_open(dir, gguf, ret_checkpoint, failure);
    if (is_job && access(index, F_OK))
        return checkpoint_open(codes, codes, ret_checkpoint, failure);
    return checkpoint_open(root, dir, ret_checkpoint, failure);
}

static int check_positions(const struct model_config *config, const struct params *p,
                           struct failure *failure) {
    int seqlen = check_seqlen(config, p), most = config->max_position_embeddings;

    if (seqlen <= most)
        return 0;
    return failure_field(failure, "seqlen", "leave it out to take the longest",
                         "%d is more than the %d positions of the model", seqlen, most);
}

/* A grid is shared by whole groups, and the packed codes of a row are whole words. */
static int check_shapes(const struct model_config *config, const struct params *p,
                        struct failure *failure) {
    struct quantization_config q = params_quantization(p);
    cleanup(freep) struct schemes *schemes = NULL;
    struct units units;
    int r;

    for (int i = 0; i < N_GROUPS; i++) {
        struct group_shape shape;

        group_shape(config, i, &shape);
        if (p->rules.n == 0 && p->groupsize > 0 && shape.n % p->groupsize)
            return failure_field(failure, "groupsize",
                                 "take a divisor of both, or -1 for one grid per row",
                                 "%d does not divide the %d in-features of %s", p->groupsize,
                                 shape.n, shape.parts[0].name);
        if (shape.n % 32)
            return failure_set(
                failure, -EINVAL, "model_unsupported", "only wbits 16 works for this model",
                "the %d in-features of %s are not a multiple of 32", shape.n, shape.parts[0].name);
    }
    r = p->rules.n > 0 ? rules_check(p, config, failure) : 0;
    if (!r)
        r = rules_check_formats(p, config, failure);
    if (!r)
        r = rules_schemes(p, config, &schemes, failure);
    q.schemes = schemes;
    if (!r && p->target_bits > 0)
        r = units_make(p, config, &units, failure);
    return r ? r : params_check(p, &q, config, failure);
}

int check_model(const struct checkpoint *checkpoint, const struct params *p,
                struct failure *failure) {
    int r = check_positions(&checkpoint->config, p, failure);

    if (r || p->wbits == 16)
        return r;
    if (checkpoint->is_gguf)
        return failure_set(failure, -EINVAL, "model_unsupported",
                           "quantize the safetensors that the file was made from",
                           "model '%s' is a GGUF file, which is only evaluated", p->model);
    if (checkpoint->config.quantization.present)
        return failure_set(failure, -EINVAL, "model_unsupported",
                           "evaluate it with wbits 16, or quantize the model it was made from",
                           "model '%s' is quantized already", p->model);
    r = check_shapes(&checkpoint->config, p, failure);
    if (!r)
        r = companions_check(checkpoint->root, checkpoint->dir, failure);
    return r || !p->format->check_files ? r
                                        : p->format->check_files(checkpoint->root, checkpoint->dir,
                                                                 &checkpoint->config, failure);
}

int check_tokenizer(const char *root, const char *dir, const char *model,
                    struct tokenizer **ret_tokenizer, struct failure *failure) {
    cleanup(freep) char *path = str_format("%s/tokenizer.json", dir);
    int r;

    if (!path)
        return failure_oom(failure);
    if (gguf_is_file(root, dir))
        return gguf_tokenizer_open(root, dir, ret_tokenizer, failure);
    r = tokenizer_open(root, path, ret_tokenizer, failure);
    if (r == -ENOENT)
        return failure_set(failure, r, "model_incomplete",
                           "fetch the model again, or save it again with its fast tokenizer",
                           "model '%s' has no tokenizer.json", model);
    return r;
}

int check_name_set(const char *name, int r, struct failure *failure) {
    struct failure why = *failure;

    return r == -ENODATA
               ? failure_set(failure, r, why.code, why.hint, "data set '%s': %s", name, why.detail)
               : r;
}

/* -------- before a job is taken -------- */

/* What the job asks for is to blame for @r, in @field unless the failure names another. */
static int blame(int r, const char *field, struct failure *failure) {
    if (!r || r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EIO)
        return r;
    if (!failure->field[0])
        snprintf(failure->field, sizeof(failure->field), "%s", field);
    return -EINVAL;
}

/* Says which matrices are not of the type that was asked for; "": all are. */
static void warn_of_narrow(const struct model_config *config, const struct params *p,
                           const struct quantization_config *q, char ret_text[CHECK_WARNING_SIZE]) {
    for (int i = 0; i < N_GROUPS * config->num_hidden_layers && !ret_text[0]; i++) {
        struct group_shape shape;
        const struct scheme *s;

        group_shape(config, i % N_GROUPS, &shape);
        s = scheme_of_part(config, q, i / N_GROUPS, &shape, 0, 0);
        if (s && !s->sub_bits && s->wbits == p->gguf_type->narrow.wbits)
            snprintf(ret_text, CHECK_WARNING_SIZE,
                     "%s is not %s but %d bits on %s grids of %d columns, as llama-quantize does: "
                     "its %d in-features are not a multiple of %d",
                     shape.parts[0].name, p->gguf_type->name, s->wbits,
                     s->sym ? "symmetric" : "asymmetric", s->groupsize, shape.n, GRID_SUPER);
    }
}

void check_loaders(const struct model_config *config, const struct quantization_config *q,
                   char ret_text[CHECK_WARNING_SIZE]) {
    struct split split;

    ret_text[0] = '\0';
    if (schemes_split(config, q, &split))
        snprintf(ret_text, CHECK_WARNING_SIZE,
                 "the rules make the matrices of %s in layer %d differ, which vLLM holds in one "
                 "module: it cannot load the checkpoint",
                 split.module, split.layer);
}

int check_warning(const struct model_config *config, const struct params *p,
                  char ret_text[CHECK_WARNING_SIZE], struct failure *failure) {
    struct quantization_config q = params_quantization(p);
    cleanup(freep) struct schemes *schemes = NULL;
    const char *planned = units_warning(p);
    int r = rules_schemes(p, config, &schemes, failure);

    ret_text[0] = '\0';
    q.schemes = schemes;
    if (!r && p->format->reader)
        check_loaders(config, &q, ret_text);
    if (!r && !ret_text[0] && p->gguf_type)
        warn_of_narrow(config, p, &q, ret_text);
    if (planned)
        snprintf(ret_text, CHECK_WARNING_SIZE, "%s", planned);
    return r;
}

/* Does the set have a window of @seqlen tokens? Of a text that must have one nothing is read. */
static int check_text(const struct corpora *corpora, const char *name, enum corpus_use use,
                      const struct tokenizer *tokenizer, int seqlen, struct failure *failure) {
    const size_t enough = (size_t)seqlen * TOKEN_BYTES;
    cleanup(windows_freep) struct windows *windows = NULL;
    cleanup(corpus_freep) struct corpus *corpus = NULL;
    size_t size;
    int r = corpus_check(corpora, name, &size, failure);

    if (r || size > enough)
        return r;
    r = corpus_load(corpora, name, use, &corpus, failure);
    if (r || corpus->size > enough)
        return r;
    r = use == CORPUS_EVALUATION
            ? windows_cut(corpus, tokenizer, seqlen, &windows, failure)
            : windows_sample(corpus, tokenizer, 1, seqlen, 0, &windows, failure);
    return check_name_set(name, r, failure);
}

static int check_texts(const struct corpora *corpora, const struct params *p,
                       const struct tokenizer *tokenizer, int seqlen, struct failure *failure) {
    int r = 0;

    if (params_calibrates(p))
        r = blame(check_text(corpora, p->dataset, CORPUS_CALIBRATION, tokenizer, seqlen, failure),
                  "dataset", failure);
    for (int i = 0; i < p->n_eval && !r; i++)
        r = blame(check_text(corpora, p->eval[i], CORPUS_EVALUATION, tokenizer, seqlen, failure),
                  "eval", failure);
    return r;
}

static int check_folder(const char *root, const char *dir, const struct params *p,
                        const struct corpora *corpora, char ret_warning[CHECK_WARNING_SIZE],
                        struct failure *failure) {
    cleanup(checkpoint_freep) struct checkpoint *checkpoint = NULL;
    cleanup(tokenizer_freep) struct tokenizer *tokenizer = NULL;
    int r = check_open(root, dir, p, &checkpoint, failure);

    if (!r)
        r = check_model(checkpoint, p, failure);
    if (!r)
        r = check_warning(&checkpoint->config, p, ret_warning, failure);
    if (!r)
        r = check_tokenizer(root, dir, p->model, &tokenizer, failure);
    return r ? r
             : check_texts(corpora, p, tokenizer, check_seqlen(&checkpoint->config, p), failure);
}

int check_job(const char *root, const char *dir, const struct params *p,
              const struct corpora *corpora, char ret_warning[CHECK_WARNING_SIZE],
              struct failure *failure) {
    size_t size;
    int r = 0;

    ret_warning[0] = '\0';
    if (params_calibrates(p))
        r = blame(corpus_check(corpora, p->dataset, &size, failure), "dataset", failure);
    for (int i = 0; i < p->n_eval && !r; i++)
        r = blame(corpus_check(corpora, p->eval[i], &size, failure), "eval", failure);
    if (!r && dir[0])
        r = blame(check_folder(root ? root : dir, dir, p, corpora, ret_warning, failure), "model",
                  failure);
    return r;
}
