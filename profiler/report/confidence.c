#include "report/confidence.h"

#include "sys/poison.h"

/* Newton's iteration, from half the exponent: each step doubles the digits. */
double ht_confidence_sqrt(double x)
{
    union {
        double value;
        uint64_t bits;
    } u = {x};
    if (!(x > 0))
        return 0;
    u.bits = (u.bits >> 1) + (UINT64_C(0x3ff) << 51);
    for (int i = 0; i < 5; i++)
        u.value = (u.value + x / u.value) / 2;
    return u.value;
}

struct ht_range ht_confidence_range(double value, double variance, double least_unit)
{
    double unit = value > 0 ? variance / value : 0;
    unit = unit > least_unit ? unit : least_unit;
    if (!(unit > 0))
        return (struct ht_range){value, value};
    double half = HT_CONFIDENCE_Z * unit / 2;
    double middle = value + HT_CONFIDENCE_Z * half;
    double reach = HT_CONFIDENCE_Z * ht_confidence_sqrt(variance + half * half);
    return (struct ht_range){middle > reach ? middle - reach : 0, middle + reach};
}
