"""The mathematics, once and free of frameworks: formulas ``f(xp, ...)`` on the array functions of `arrays`.

Each backend has these functions in its ``arrays``, and the formulas with them put in, ``f(...)``, in ``formulas``.
"""
