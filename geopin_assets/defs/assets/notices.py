"""quality/notices: whoever wants to hear of an area is told.

Not here: what there is to tell (`exchange/areas.py`), and telling it (`exchange/notices.py`).
"""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from geopin_assets.defs.declare import report, verdict
from geopin_assets.defs.resources import Storage

CHECKS = {
    "notices_told": "Every webhook of an area took what was to be told. What waits is tried again with every "
    "report, for 30 days. What to do: see `why`; ask whoever gave the address, and mend it in the file of areas.",
}


@report("quality/notices", checks=CHECKS, kinds={"geojson"})
def notices(storage: Storage) -> dg.MaterializeResult:
    """Areas of GEOPIN_NOTICE_AREAS: told when their newest image is older than wanted, of new imagery, and of a source
    that has nothing there any more. Once each: through the area's webhook, and its Atom feed among the reports."""
    from geopin_assets.exchange.areas import read_areas
    from geopin_assets.exchange.notices import Teller
    from geopin_assets.http_client.addresses import AddressRule
    from geopin_assets.http_client.transport import guarded_transport
    from geopin_assets.platform.evidence import Evidence

    Evidence(storage).check_catalog()  # of one that was lost, people would hear that there is nothing
    settings = storage.settings()
    areas = read_areas(Path(settings.notice_areas)) if settings.notice_areas else []
    rule = AddressRule(trusted_hosts=settings.trusted_hosts, allow_loopback=settings.is_sandbox)
    with storage.quality().below("notices").as_folder() as feeds:
        teller = Teller(
            settings.notices_dir,
            feeds,
            f"{settings.reports_url}/notices",
            settings.contact,
            guarded_transport(rule),
        )
        failures = teller.tell(storage.catalog(), areas, datetime.now(UTC))
    said = f"{len(failures)} of {len(areas)} areas could not be told" if failures else f"{len(areas)} areas"
    return dg.MaterializeResult(
        metadata={"areas": len(areas), **{name: teller.told[name] for name in ("found", "told", "waiting")}},
        check_results=[verdict("notices_told", not failures, said, why=dict(sorted(failures.items())[:50]))],
    )
