"""``python -m explain_core.kernels``: compile the kernels and store them where workers of the app find them."""

from __future__ import annotations

import importlib.util

from explain_core.kernels import warm

if importlib.util.find_spec("numba") is not None:
    warm()
