"""One engine of D1 for the tests of the client; `test_d1_engine.py` has its own, that nobody else has written in."""

from geopin_assets_tests.index.workerd import engine_node as engine_node
from geopin_assets_tests.index.workerd import workerd_url as workerd_url
