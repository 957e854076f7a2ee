/* Log overlap of Gaussians, and its gradient: the inner loops of tiled.py for a CPU.
 *
 * The formulas are those of `oracle.overlap`, in one pass over the keys. Compiled on first use by
 * native.py, for REAL float or (with -DDOUBLE) double.
 *
 * Component c of Gaussian p of residue n lies at [c][s][p][n], where a slice s is one head of one
 * item; planes c are `plane` numbers apart. Queries are the residues [i0, i1) of slices [s0, s1);
 * arrays over pairs are [s - s0][i - i0][j] for all n keys j. Slices are independent, and shared
 * out among threads.
 */
#include <math.h>
#include <stdint.h>

#ifdef DOUBLE
typedef double REAL;
typedef int64_t INTEGER;
#define MANTISSA_BITS 52
#define BIAS 1023
#else
typedef float REAL;
typedef int32_t INTEGER;
#define MANTISSA_BITS 23
#define BIAS 127
#endif

#define MANTISSA_MASK (((INTEGER)1 << MANTISSA_BITS) - 1)
#define ONE ((INTEGER)BIAS << MANTISSA_BITS)
#define LOG_2 ((REAL)0.69314718055994530942)

/* Keys per block: what the queries of a tile share stays in the first cache. */
#define BLOCK 128

typedef union {
    REAL real;
    INTEGER bits;
} word;

/* log x of 1 <= x < 2, as 2 atanh((x - 1) / (x + 1)) about 1 or about 2. */
static inline REAL log_of_mantissa(REAL x)
{
#ifdef DOUBLE
    return log(x);
#else
    REAL upper = x > (REAL)1.4142135 ? (REAL)1 : (REAL)0;
    x = upper != 0 ? (REAL)0.5 * x : x;
    REAL s = (x - 1) / (x + 1), z = s * s;
    REAL series = z * ((REAL)(1. / 3) + z * ((REAL)(1. / 5) + z * ((REAL)(1. / 7) + z * (REAL)(1. / 9))));
    return upper * LOG_2 + 2 * (s + s * series);
#endif
}

/* Gaussians of one p and slice: pointers to residue n of each component. */
#define COMPONENTS(type, name, mean, covariance, at)                                               \
    type name##x = (mean) + (at), name##y = name##x + plane, name##z = name##y + plane;            \
    type name##xx = (covariance) + (at), name##xy = name##xx + plane, name##xz = name##xy + plane, \
         name##yy = name##xz + plane, name##yz = name##yy + plane, name##zz = name##yz + plane

typedef const REAL *restrict input;
typedef REAL *restrict output;

/* S = Si + Sj with x eliminated: d1, e1, t are the Schur complement of xx in y and z, f = its
 * determinant; (x, w, v) is d = mi - mj after the same elimination; (gx, gy, gz) = S^-1 d. */
#define SOLVE                                                                                      \
    REAL x = mx - kx[j], y = my - ky[j], z = mz - kz[j];                                           \
    REAL xx = sxx + kxx[j], xy = sxy + kxy[j], xz = sxz + kxz[j];                                  \
    REAL yy = syy + kyy[j], yz = syz + kyz[j], zz = szz + kzz[j];                                  \
    REAL r = 1 / xx, ly = xy * r, lz = xz * r;                                                     \
    REAL d1 = yy - xy * ly, t = yz - xz * ly, e1 = zz - xz * lz;                                   \
    REAL f = d1 * e1 - t * t, rf = 1 / f;                                                          \
    REAL w = y - ly * x, v = z - lz * x;                                                           \
    REAL gy = (e1 * w - t * v) * rf, gz = (d1 * v - t * w) * rf

#define QUERY(at)                                                                                  \
    REAL mx = qm[at], my = qm[plane + (at)], mz = qm[2 * plane + (at)];                            \
    REAL sxx = qc[at], sxy = qc[plane + (at)], sxz = qc[2 * plane + (at)];                         \
    REAL syy = qc[3 * plane + (at)], syz = qc[4 * plane + (at)], szz = qc[5 * plane + (at)]

/* g[s - s0][i - i0][j] = sum over p of -(d' S^-1 d + log det S) / 2 */
void overlap(int64_t n_threads, int64_t n_gaussians, int64_t n, int64_t plane, int64_t s0,
             int64_t s1, int64_t i0, int64_t i1, input qm, input qc, input km, input kc, output g)
{
#pragma omp parallel for num_threads(n_threads)
    for (int64_t s = s0; s < s1; s++)
        for (int64_t j0 = 0; j0 < n; j0 += BLOCK) {
            int64_t n_keys = n - j0 < BLOCK ? n - j0 : BLOCK;
            for (int64_t i = i0; i < i1; i++) {
                /* One logarithm for all p: the determinants are multiplied, as mantissa and
                 * exponent, so that no product leaves the range of REAL. */
                REAL distance[BLOCK], mantissa[BLOCK];
                INTEGER exponent[BLOCK];
                for (int64_t j = 0; j < BLOCK; j++) {
                    distance[j] = 0;
                    mantissa[j] = 1;
                    exponent[j] = 0;
                }
                for (int64_t p = 0; p < n_gaussians; p++) {
                    int64_t slice = (s * n_gaussians + p) * n;
                    QUERY(slice + i);
                    COMPONENTS(input, k, km, kc, slice + j0);
#pragma omp simd
                    for (int64_t j = 0; j < n_keys; j++) {
                        SOLVE;
                        distance[j] += x * x * r + w * gy + v * gz;
                        word product = {mantissa[j] * (xx * f)};
                        exponent[j] += (product.bits >> MANTISSA_BITS) - BIAS;
                        product.bits = (product.bits & MANTISSA_MASK) | ONE;
                        mantissa[j] = product.real;
                    }
                }
                output row = g + ((s - s0) * (i1 - i0) + (i - i0)) * n + j0;
#pragma omp simd
                for (int64_t j = 0; j < n_keys; j++)
                    row[j] = (REAL)-0.5 * (distance[j] + log_of_mantissa(mantissa[j]) +
                                           LOG_2 * (REAL)exponent[j]);
            }
        }
}

/* Adds to dqm, dqc, dkm, dkc the gradients of sum of weight * g.
 *
 * dg/dmi = -S^-1 d = -dg/dmj;  dg/dSi = dg/dSj = (S^-1 d d' S^-1 - S^-1) / 2, of which entries off
 * the diagonal stand for two. */
void overlap_gradient(int64_t n_threads, int64_t n_gaussians, int64_t n, int64_t plane, int64_t s0,
                      int64_t s1, int64_t i0, int64_t i1, input qm, input qc, input km, input kc,
                      input weight, output dqm, output dqc, output dkm, output dkc)
{
#pragma omp parallel for num_threads(n_threads)
    for (int64_t s = s0; s < s1; s++)
        for (int64_t j0 = 0; j0 < n; j0 += BLOCK) {
            int64_t n_keys = n - j0 < BLOCK ? n - j0 : BLOCK;
            for (int64_t p = 0; p < n_gaussians; p++) {
                int64_t slice = (s * n_gaussians + p) * n;
                COMPONENTS(input, k, km, kc, slice + j0);
                COMPONENTS(output, d, dkm, dkc, slice + j0);
                for (int64_t i = i0; i < i1; i++) {
                    QUERY(slice + i);
                    input row = weight + ((s - s0) * (i1 - i0) + (i - i0)) * n + j0;
                    REAL ax = 0, ay = 0, az = 0;
                    REAL axx = 0, axy = 0, axz = 0, ayy = 0, ayz = 0, azz = 0;
#pragma omp simd reduction(+ : ax, ay, az, axx, axy, axz, ayy, ayz, azz)
                    for (int64_t j = 0; j < n_keys; j++) {
                        SOLVE;
                        REAL gx = x * r - ly * gy - lz * gz;
                        /* S^-1 from its lower right block outwards. */
                        REAL iyy = e1 * rf, iyz = -t * rf, izz = d1 * rf;
                        REAL ixy = -(ly * iyy + lz * iyz), ixz = -(ly * iyz + lz * izz);
                        REAL ixx = r - ly * ixy - lz * ixz;
                        REAL full = row[j], half = (REAL)0.5 * full;
                        REAL wx = full * gx, wy = full * gy, wz = full * gz;
                        REAL wxx = half * (gx * gx - ixx), wxy = wx * gy - full * ixy;
                        REAL wxz = wx * gz - full * ixz, wyy = half * (gy * gy - iyy);
                        REAL wyz = wy * gz - full * iyz, wzz = half * (gz * gz - izz);
                        ax += wx, ay += wy, az += wz;
                        axx += wxx, axy += wxy, axz += wxz, ayy += wyy, ayz += wyz, azz += wzz;
                        dx[j] += wx, dy[j] += wy, dz[j] += wz;
                        dxx[j] += wxx, dxy[j] += wxy, dxz[j] += wxz;
                        dyy[j] += wyy, dyz[j] += wyz, dzz[j] += wzz;
                    }
                    int64_t q = slice + i;
                    dqm[q] -= ax, dqm[plane + q] -= ay, dqm[2 * plane + q] -= az;
                    dqc[q] += axx, dqc[plane + q] += axy, dqc[2 * plane + q] += axz;
                    dqc[3 * plane + q] += ayy, dqc[4 * plane + q] += ayz, dqc[5 * plane + q] += azz;
                }
            }
        }
}
