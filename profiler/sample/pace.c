#include "sample/pace.h"

#include "sys/poison.h"

#define SAMPLED_MIN 256.0
#define LIKE_EXACT  1024.0
#define CREDIT      1e9 /* ns of CPU time; as much is kept for later, or saved for what was */

static uint64_t power_of_two_from(double x)
{
    uint64_t power = 1;
    while ((double)power < x && power < HT_PACE_MAX)
        power *= 2;
    return power;
}

static uint64_t longer(uint64_t interval, double factor)
{
    double like = interval == 1 ? LIKE_EXACT : (double)interval;
    double wanted = like * factor;
    return power_of_two_from(wanted > SAMPLED_MIN ? wanted : SAMPLED_MIN);
}

static uint64_t shorter(uint64_t interval, double factor)
{
    double wanted = (double)interval * factor;
    if (interval == 1 || (wanted < LIKE_EXACT / 2 && (double)interval <= LIKE_EXACT * 4))
        return 1;
    double least = (double)interval / 16;
    return ht_min(power_of_two_from(wanted > least ? wanted : least), interval);
}

uint64_t ht_pace_next(struct ht_pace *pace, uint64_t interval, double used, double time,
                      double budget)
{
    pace->debt += used - budget * time;
    pace->debt = pace->debt < -budget * CREDIT ? -budget * CREDIT : pace->debt;
    pace->debt = pace->debt > budget * CREDIT ? budget * CREDIT : pace->debt;
    /* What was too much is saved at half the budget. */
    double factor = used / time / (pace->debt > 0 ? budget / 2 : budget);
    if (factor > 1)
        return longer(interval, factor);
    if (factor < 0.5 && pace->debt <= 0)
        return shorter(interval, factor);
    return interval;
}
