"""What processes that tests start have imported before they begin. Importing starts no thread: they are forked."""

import geopin_assets_tests.instances  # noqa: F401
