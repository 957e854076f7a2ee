/* Radial basis functions of distances, times a matrix: the inner loops of radial.py for a CPU.
 *
 * A basis is (1 - ((d - centre) / reach)^2)^2 within its reach and 0 beyond, so that of a distance
 * few of them are not 0. They are made and used one by one, and no array has them all. Compiled on
 * first use by model/compiled_c.py, for REAL float or (with -DDOUBLE) double.
 *
 * An edge is that of residue e / n_edges, whose points are [P][3], to others [e][Q][3]. Rows of the
 * matrix are [p][q][basis][channel], with a number of channels that is a multiple of WIDTH.
 */
#include <math.h>
#include <stdint.h>

#ifdef DOUBLE
typedef double REAL;
#define SQRT sqrt
#else
typedef float REAL;
#define SQRT sqrtf
#endif

#define WIDTH 32
/* P * Q */
#define MOST 64

typedef const REAL *restrict input;
typedef REAL *restrict output;

typedef struct {
    int64_t n_threads, n_residues, n_edges, n_points, n_others, n_bases, n_channels;
    REAL first, apart, reach, floor;
} sizes;

/* What an edge is: of each pair of points the distance, and the bases [start, end) that may not be
 * 0. All of them where the distance is no number, which is passed on. */
typedef struct {
    REAL distance[MOST];
    int64_t start[MOST], end[MOST];
} edge;

static inline edge look(const sizes *s, input points, input others)
{
    edge e;
    int64_t n = s->n_points * s->n_others;
    REAL most = (REAL)s->n_bases;
    for (int64_t p = 0; p < s->n_points; p++)
        for (int64_t q = 0; q < s->n_others; q++) {
            REAL x = points[3 * p] - others[3 * q], y = points[3 * p + 1] - others[3 * q + 1];
            REAL z = points[3 * p + 2] - others[3 * q + 2];
            e.distance[p * s->n_others + q] = x * x + y * y + z * z + s->floor;
        }
    for (int64_t k = 0; k < n; k++)
        e.distance[k] = SQRT(e.distance[k]);
    for (int64_t k = 0; k < n; k++) {
        REAL from = (e.distance[k] - s->reach - s->first) / s->apart;
        REAL to = (e.distance[k] + s->reach - s->first) / s->apart + 1;
        e.start[k] = from >= most ? s->n_bases : from >= 0 ? (int64_t)from + 1 : 0;
        e.end[k] = to <= 0 ? 0 : to < most ? (int64_t)to : s->n_bases;
    }
    return e;
}

static inline REAL basis(const sizes *s, REAL distance, int64_t b)
{
    REAL t = (distance - (s->first + s->apart * (REAL)b)) / s->reach, bump = 1 - t * t;
    return bump < 0 ? 0 : bump * bump;
}

/* out[e][channel] = sum over p, q and bases of basis * matrix */
void product(const sizes *s, input points, input others, input matrix, output out)
{
    int64_t n = s->n_points * s->n_others, c = s->n_channels;
#pragma omp parallel for num_threads(s->n_threads)
    for (int64_t residue = 0; residue < s->n_residues; residue++)
        for (int64_t e = residue * s->n_edges; e < (residue + 1) * s->n_edges; e++) {
            edge one = look(s, points + residue * s->n_points * 3, others + e * s->n_others * 3);
            for (int64_t c0 = 0; c0 < c; c0 += WIDTH) {
                REAL sum[WIDTH] = {0};
                for (int64_t k = 0; k < n; k++)
                    for (int64_t b = one.start[k]; b < one.end[k]; b++) {
                        REAL value = basis(s, one.distance[k], b);
                        input row = matrix + (k * s->n_bases + b) * c + c0;
                        for (int64_t i = 0; i < WIDTH; i++)
                            sum[i] += value * row[i];
                    }
                for (int64_t i = 0; i < WIDTH; i++)
                    out[e * c + c0 + i] = sum[i];
            }
        }
}

/* Adds to d_matrix its gradient, of which d_out is that of `product`'s out. */
void product_gradient(const sizes *s, input points, input others, input d_out, output d_matrix)
{
    int64_t n = s->n_points * s->n_others, c = s->n_channels;
    /* Threads share out the rows of the matrix, so that no two add to the same. */
#pragma omp parallel for num_threads(s->n_threads)
    for (int64_t part = 0; part < s->n_threads; part++) {
        int64_t k0 = part * n / s->n_threads, k1 = (part + 1) * n / s->n_threads;
        for (int64_t e = 0; e < s->n_residues * s->n_edges; e++) {
            input here = points + e / s->n_edges * s->n_points * 3;
            edge one = look(s, here, others + e * s->n_others * 3);
            for (int64_t c0 = 0; c0 < c; c0 += WIDTH) {
                REAL given[WIDTH];
                for (int64_t i = 0; i < WIDTH; i++)
                    given[i] = d_out[e * c + c0 + i];
                for (int64_t k = k0; k < k1; k++)
                    for (int64_t b = one.start[k]; b < one.end[k]; b++) {
                        REAL value = basis(s, one.distance[k], b);
                        output row = d_matrix + (k * s->n_bases + b) * c + c0;
                        for (int64_t i = 0; i < WIDTH; i++)
                            row[i] += value * given[i];
                    }
            }
        }
    }
}
