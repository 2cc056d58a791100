"""Charts and the stage as PNG and SVG, made without a browser by matplotlib (which `picture` imports when called)."""

from explain_core.pictures.picture import FORMATS, boxed_letters, picture

__all__ = ["FORMATS", "boxed_letters", "picture"]
