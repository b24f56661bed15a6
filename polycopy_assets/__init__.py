"""Every trade of every wanted Polymarket wallet, once, in one table."""

import os

from polycopy_assets.system.version import VERSION

__version__ = VERSION

# polars' allocator reads this when polars is imported. As polars sets it, it never gives all freed
# memory back, while DuckDB and the fetch need it. Without any delay, a combine takes a third more
# processor time.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:0")
