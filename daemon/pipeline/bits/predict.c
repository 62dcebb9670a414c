// SPDX-License-Identifier: Apache-2.0
#include "daemon/pipeline/bits/predict.h"

#include <math.h>

void prediction_make(const double *sum, const double *all, int n, struct prediction *ret) {
    *ret = (struct prediction){};
    for (int i = n - 1; i >= 0; i--) {
        int last = ret->n - 1;

        if (!(sum[i] > (last < 0 ? 0 : ret->sum[last]) && all[i] > (last < 0 ? 0 : ret->all[last])))
            continue;
        ret->sum[ret->n] = sum[i];
        ret->all[ret->n++] = all[i];
    }
}

double prediction_at(const struct prediction *p, double sum) {
    int next = 0;
    double part;

    while (next < p->n && p->sum[next] < sum)
        next++;
    if (p->n == 0)
        return sum;
    if (next == 0 || next == p->n) {
        int end = next ? p->n - 1 : 0;

        return sum * p->all[end] / p->sum[end];
    }
    part = log(sum / p->sum[next - 1]) / log(p->sum[next] / p->sum[next - 1]);
    return p->all[next - 1] * pow(p->all[next] / p->all[next - 1], part);
}
