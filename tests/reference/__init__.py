"""An independent judge of the engines: DeepLIFT written down from the papers, slowly, in float64 NumPy.

It shares no code with `explain_core` and needs no framework. Slower, less complicated, thus less likely to be
wrong.
"""
