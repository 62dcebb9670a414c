// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/reference.h"

#include "base/macros.h"

#include <math.h>

static double dot(const float *a, const float *b, int n) {
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

void ref_rmsnorm(double *y, const float *x, int ldx, const float *w, int T, int n, double eps) {
    for (int t = 0; t < T; t++) {
        const float *row = x + (size_t)t * (size_t)ldx;
        double f = 1 / sqrt(dot(row, row, n) / n + eps);

        for (int i = 0; i < n; i++)
            y[(size_t)t * (size_t)n + (size_t)i] = (double)row[i] * f * (double)w[i];
    }
}

void ref_linear(double *y, const float *x, const float *w, int T, int n_in, int n_out, bool add) {
    for (int t = 0; t < T; t++) {
        for (int o = 0; o < n_out; o++) {
            double *to = y + (size_t)t * (size_t)n_out + o;

            *to = dot(x + (size_t)t * (size_t)n_in, w + (size_t)o * (size_t)n_in, n_in) +
                  (add ? *to : 0);
        }
    }
}

void ref_rope(double *y, const float *x, int ldx, int T, int seqlen, int n_heads, int head_dim,
              double theta) {
    int half = head_dim / 2;

    for (int t = 0; t < T; t++) {
        for (int i = 0; i < n_heads * half; i++) {
            size_t at = (size_t)t * (size_t)ldx + (size_t)(i / half * head_dim + i % half);
            double angle = t % seqlen * pow(theta, -2.0 * (i % half) / head_dim);
            double a = x[at], z = x[at + (size_t)half];

            y[at] = a * cos(angle) - z * sin(angle);
            y[at + (size_t)half] = z * cos(angle) + a * sin(angle);
        }
    }
}

/* One query against the keys 0 .. n_keys - 1; rows are ld apart. */
static void attend(double *y, const float *q, const float *k, const float *v, int ld, int n_keys,
                   int head_dim) {
    double max = -INFINITY, sum = 0;

    for (int j = 0; j < n_keys; j++)
        max = fmax(max, dot(q, k + (size_t)j * (size_t)ld, head_dim) / sqrt(head_dim));
    for (int i = 0; i < head_dim; i++)
        y[i] = 0;
    for (int j = 0; j < n_keys; j++) {
        double p = exp(dot(q, k + (size_t)j * (size_t)ld, head_dim) / sqrt(head_dim) - max);

        sum += p;
        for (int i = 0; i < head_dim; i++)
            y[i] += p * (double)v[(size_t)j * (size_t)ld + (size_t)i];
    }
    for (int i = 0; i < head_dim; i++)
        y[i] /= sum;
}

void ref_attention(double *y, const float *qkv, int n_windows, int seqlen, int n_heads,
                   int n_kv_heads, int head_dim) {
    int ld = (n_heads + 2 * n_kv_heads) * head_dim;

    for (int window = 0; window < n_windows; window++) {
        const float *first = qkv + (size_t)window * (size_t)seqlen * (size_t)ld;

        for (int t = 0; t < seqlen; t++) {
            for (int h = 0; h < n_heads; h++) {
                int kv = h / (n_heads / n_kv_heads);
                const float *k = first + (n_heads + kv) * head_dim;

                attend(y, first + (size_t)t * (size_t)ld + h * head_dim, k,
                       k + n_kv_heads * head_dim, ld, t + 1, head_dim);
                y += head_dim;
            }
        }
    }
}

static double log_sum_exp(const double *x, int n) {
    double max = -INFINITY, sum = 0;

    for (int i = 0; i < n; i++)
        max = fmax(max, x[i]);
    for (int i = 0; i < n; i++)
        sum += exp(x[i] - max);
    return max + log(sum);
}

void ref_router(double *p, const float *x, const float *w, int T, int d, int n_experts) {
    ref_linear(p, x, w, T, d, n_experts, false);
    for (int t = 0; t < T; t++) {
        double *row = p + (size_t)t * (size_t)n_experts, lse = log_sum_exp(row, n_experts);

        for (int e = 0; e < n_experts; e++)
            row[e] = exp(row[e] - lse);
    }
}

void ref_head(double *nll, double *lse, double *logits, const float *x, const float *w,
              const int32_t *targets, int T, int d, int vocab) {
    ref_linear(logits, x, w, T, d, vocab, false);
    for (int t = 0; t < T; t++) {
        lse[t] = log_sum_exp(logits + (size_t)t * (size_t)vocab, vocab);
        nll[t] = lse[t] - logits[(size_t)t * (size_t)vocab + (size_t)targets[t]];
    }
}

void ref_hessian(double *h, const float *x, int rows, int n) {
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double sum = 0;

            for (int t = 0; t < rows; t++)
                sum += (double)x[(size_t)t * (size_t)n + (size_t)i] *
                       (double)x[(size_t)t * (size_t)n + (size_t)j];
            h[(size_t)i * (size_t)n + (size_t)j] += sum;
        }
    }
}

void ref_cross(double *d, const float *x0, const float *x, int rows, int n) {
    for (size_t t = 0; t < (size_t)rows; t++) {
        const float *x0_row = x0 + t * (size_t)n, *x_row = x + t * (size_t)n;

        for (int i = 0; i < n; i++) {
            double drift = (double)x0_row[i] - (double)x_row[i];

            for (int j = 0; j < n; j++)
                d[(size_t)i * (size_t)n + (size_t)j] += drift * (double)x_row[j];
        }
    }
}

void ref_correction(double *p, const float *d, const float *u, const int32_t *perm, double alpha,
                    int n) {
    size_t side = (size_t)n;

    for (size_t i = 0; i < side; i++) {
        for (size_t k = i + 1; k < side; k++) {
            double half = 0; /* element i, k of d u' */

            for (size_t l = k; l < side; l++)
                half +=
                    (double)d[(size_t)perm[i] * side + (size_t)perm[l]] * (double)u[k * side + l];
            for (size_t j = k; j < side; j++)
                p[i * side + j] += alpha * half * (double)u[k * side + j];
        }
    }
}

/* ---- grids ---- */

double ref_steps(double w, double scale, double zero) {
    return w / scale + zero;
}

int ref_code(double w, double scale, double zero, int wbits) {
    double code = rint(w / scale) + zero;

    return (int)fmin(fmax(code, 0), (1 << wbits) - 1);
}

static void grid_of_range(const struct grid *grid, double min, double max, double *ret_scale,
                          double *ret_zero) {
    double maxq = (1 << grid->wbits) - 1;
    double scale = (grid->sym ? 2 * fmax(-min, max) : max - min) / maxq;

    scale = fmin(fmax(scale, 0x1p-24), 65504);
    *ret_scale = (double)f16_to_f32(f32_to_f16((float)scale));
    *ret_zero = grid->sym ? 1 << (grid->wbits - 1) : fmin(rint(-min / *ret_scale), maxq);
}

static double grid_error(const struct grid *grid, const double *w, const double *h, int n,
                         double scale, double zero) {
    double sum = 0;

    for (int i = 0; i < n; i++) {
        double d = fabs(scale * (ref_code(w[i], scale, zero, grid->wbits) - zero) - w[i]);

        sum += grid->fit == GRID_HESSIAN ? h[i] * d * d : pow(d, 2.4);
    }
    return sum;
}

void ref_grid(const struct grid *grid, const double *w, const double *h, int n, double *ret_scale,
              double *ret_zero) {
    double min = 0, max = 0, least = INFINITY;

    for (int i = 0; i < n; i++) {
        min = fmin(min, w[i]);
        max = fmax(max, w[i]);
    }
    if (min == 0 && max == 0) {
        min = -1;
        max = 1;
    }
    for (int step = 0; step < (grid->fit == GRID_MINMAX ? 1 : 80); step++) {
        double p = 1 - step / 100.0, scale, zero, error;

        grid_of_range(grid, p * min, p * max, &scale, &zero);
        error = grid_error(grid, w, h, n, scale, zero);
        if (error < least) {
            least = error;
            *ret_scale = scale;
            *ret_zero = zero;
        }
    }
}

/* The grids of all rows for the columns @i .. of the order @perm (NULL: the model's). */
static void group_grids(struct ref_gptq *q, const int32_t *perm, const float *h,
                        const struct grid *grid, int i, int rows, int n) {
    int group = i / grid->groupsize;
    double columns[4096], weights[4096] = {0};

    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)group * (size_t)rows + (size_t)r;

        for (int k = 0; k < grid->groupsize; k++) {
            size_t column = (size_t)(perm ? perm[i + k] : i + k);

            columns[k] = q->w[(size_t)r * (size_t)n + column];
            weights[k] = h ? (double)h[column * (size_t)n + column] : 0;
        }
        ref_grid(grid, columns, weights, grid->groupsize, &q->scales[at], &q->zeros[at]);
    }
}

static void round_column(struct ref_gptq *q, const float *u, const int32_t *perm, int i, int group,
                         int wbits, int rows, int n) {
    for (int r = 0; r < rows; r++) {
        double *w = q->w + (size_t)r * (size_t)n;
        size_t at = (size_t)r * (size_t)n + (size_t)perm[i];
        double scale = q->scales[group * rows + r], zero = q->zeros[group * rows + r], error;

        q->steps[at] = ref_steps(w[perm[i]], scale, zero);
        q->codes[at] = ref_code(w[perm[i]], scale, zero, wbits);
        error = (w[perm[i]] - scale * (q->codes[at] - zero)) /
                (double)u[(size_t)i * (size_t)n + (size_t)i];
        for (int j = i + 1; j < n; j++) {
            size_t cell = (size_t)i * (size_t)n + (size_t)j;

            w[perm[j]] -= error * (double)u[cell];
            if (q->p)
                w[perm[j]] += w[perm[i]] * (double)q->p[cell];
        }
    }
}

void ref_gptq(struct ref_gptq *q, const float *u, const int32_t *perm, const float *h,
              const struct grid *grid, bool static_groups, int rows, int n) {
    for (int i = 0; static_groups && i < n; i += grid->groupsize)
        group_grids(q, NULL, h, grid, i, rows, n);
    for (int i = 0; i < n; i++) {
        if (!static_groups && i % grid->groupsize == 0)
            group_grids(q, perm, h, grid, i, rows, n);
        round_column(q, u, perm, i, (static_groups ? perm[i] : i) / grid->groupsize, grid->wbits,
                     rows, n);
    }
}

void ref_rtn(struct ref_gptq *q, const struct grid *grid, int rows, int n) {
    for (int i = 0; i < n; i += grid->groupsize)
        group_grids(q, NULL, NULL, grid, i, rows, n);
    for (int at = 0; at < rows * n; at++) {
        int grid_at = at % n / grid->groupsize * rows + at / n;

        q->steps[at] = ref_steps(q->w[at], q->scales[grid_at], q->zeros[grid_at]);
        q->codes[at] = ref_code(q->w[at], q->scales[grid_at], q->zeros[grid_at], grid->wbits);
    }
}

double ref_quadratic(const double *e, const float *h, int n) {
    double sum = 0;

    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++)
            sum += e[i] * e[j] * (double)h[(size_t)MAX(i, j) * (size_t)n + (size_t)MIN(i, j)];
    }
    return sum;
}
