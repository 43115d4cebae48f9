# What an engineer writes who adds a check by .github/CONTRIBUTING.md: it goes above the report quality/diversity.
CHECKS = {
    "winter": "At least one capture in ten was taken in winter, as a photo taken then is found by bare trees. If not: "
    "crawl sources that were refreshed in summer only, or contribute imagery (quality/attribution says where).",
}
_FEWEST_WINTER_SHARE = 0.1


def winter_check(winter_share: float) -> dg.AssetCheckResult:
    """Passes where winter is shown; a warning elsewhere."""
    text = f"{winter_share:.0%} of the captures were taken in winter"
    return verdict("winter", winter_share >= _FEWEST_WINTER_SHARE, text, share=winter_share)
