"""What processes that tests start have imported before they begin. Importing starts no thread: they are forked."""

import gc

import geopin_assets_tests.instances  # noqa: F401

gc.freeze()  # no search for garbage looks at what is loaded, nor copies its pages into each process
