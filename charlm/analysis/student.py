"""Student's t distribution, for whole and broken degrees of freedom."""

import math

TINY, MOST_TERMS, CLOSE = 1e-300, 1_000, 1e-15


def cdf(t: float, freedom: float) -> float:
    """The probability of a value of at most `t`.

    Args:
        t: any number.
        freedom: degrees of freedom, above 0; infinite: the normal distribution.
    """
    if math.isinf(freedom):
        return 0.5 * math.erfc(-t / math.sqrt(2))
    tail = 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))
    return 1.0 - tail if t > 0 else tail


def quantile(probability: float, freedom: float) -> float:
    """The value below which the distribution lies with a probability between 0 and 1; infinite without freedom."""
    if not freedom > 0:
        return math.inf
    if probability < 0.5:
        return -quantile(1.0 - probability, freedom)
    low, high = 0.0, 1.0
    while cdf(high, freedom) < probability and high < 1e12:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if cdf(middle, freedom) < probability else (low, middle)
    return high


def two_sided(t: float, freedom: float) -> float:
    """The probability of a value at least as far from zero."""
    return 2.0 * cdf(-abs(t), freedom)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22; Lentz's method)."""
    if x <= 0 or x >= 1:
        return float(x > 0)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    value, upper, lower = 1.0, 1.0, 0.0
    for term in range(MOST_TERMS):
        half = term // 2
        if term == 0:
            factor = 1.0
        elif term % 2:
            factor = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            factor = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        lower = 1.0 / ((1.0 + factor * lower) or TINY)
        upper = (1.0 + factor / upper) or TINY
        value *= upper * lower
        if term and abs(upper * lower - 1.0) < CLOSE:
            break
    return front * (value - 1.0)
